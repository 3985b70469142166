// The service's API. Each call may be aborted by a signal; a refusal becomes an Error with the service's own sentence.

import * as key from "./key.js";

async function answered(path, options = {}) {
  const sent = key.header();
  const answer = await fetch(path, { ...options, headers: { ...options.headers, ...sent } });
  if (answer.status === 401) {
    await key.better(sent);
    options.signal?.throwIfAborted();
    return answered(path, options);
  }
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({})); // a proxy's own answer is no JSON
    throw new Error(error ?? `the service answered ${answer.status}`);
  }
  return answer;
}

const post = (path, body, signal, headers = {}) => answered(path, { method: "POST", body, signal, headers });
const json = async (answer) => (await answer).json();
const get = (path, signal) => json(answered(path, { signal }));

/** The body of a prepared digit, 784 bytes of bright ink on black, which no picture is mistaken for. */
const prepared = (pixels) => new Blob([pixels], { type: "application/octet-stream" });

export const model = () => get("/v1/model");
export const modelCard = async () => (await answered("/v1/model/card")).text();
/** The address of a picture of the card: its own, or where a key is needed that of a copy. */
export async function cardPicture(name) {
  const path = `/v1/model/card/${name}`;
  return key.header().Authorization ? URL.createObjectURL(await (await answered(path)).blob()) : path;
}

export const layers = () => get("/v1/model/layers");
export const palettes = () => get("/palettes.json");
export const exemplars = (layer, channel, signal) =>
  get(`/v1/model/layers/${layer}/exemplars?${new URLSearchParams({ channel })}`, signal);
export const operators = () => get("/v1/operators");

/** The prediction of a picture, and `seen`, the 28×28 that the network saw of it, as a data URL. */
export async function predict({ body, query = {} }, signal) {
  const answer = await json(post(`/v1/predict?${new URLSearchParams({ ...query, seen: true })}`, body, signal));
  return answer.predictions[0];
}

/**
 * The values of the named layers for a digit of 784 bytes, each a Float32Array, by the binary form of the Open
 * Inference Protocol: a JSON head, whose length a header tells, and the tensors behind it.
 */
export async function activations(model, names, pixels, signal) {
  const head = new TextEncoder().encode(JSON.stringify({
    inputs: [{ name: "image", datatype: "UINT8", shape: [1, 1, 28, 28], parameters: { binary_data_size: pixels.length } }],
    outputs: names.map((name) => ({ name })),
    parameters: { binary_data_output: true },
  }));
  const path = `/v2/models/${model.name}/versions/${model.version}/infer`;
  const answer = await post(path, new Blob([head, pixels]), signal, { "Inference-Header-Content-Length": head.length });
  const length = Number(answer.headers.get("Inference-Header-Content-Length"));
  const bytes = await answer.arrayBuffer();
  let place = length;
  return Object.fromEntries(JSON.parse(new TextDecoder().decode(bytes.slice(0, length))).outputs.map(({ name, parameters }) => {
    const end = place + parameters.binary_data_size;
    const values = new Float32Array(bytes.slice(place, end));
    place = end;
    return [name, values];
  }));
}

/** What a route says of a digit of 784 bytes, such as `trace` or `attribution`. */
export const ask = (route, query, pixels, signal) =>
  json(post(`/v1/${route}?${new URLSearchParams(query)}`, prepared(pixels), signal));

/** A picture after an operator, as JSON with the picture in it. */
export const operate = (picture, query, signal) =>
  json(post(`/v1/operators?${new URLSearchParams({ ...query, format: "json" })}`, picture, signal));
