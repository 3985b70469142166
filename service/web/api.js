// The service's API. Each call may be aborted by a signal; a refusal becomes an Error with the service's own sentence.

async function post(path, picture, signal) {
  const answer = await fetch(path, { method: "POST", body: picture, signal });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

export async function predict(picture, signal) {
  const answer = await (await post("/v1/predict?seen=true", picture, signal)).json();
  return answer.predictions[0];
}

export async function featureSheet(picture, layer, scale, signal) {
  const query = new URLSearchParams({ layer, scale, format: "png" });
  return (await post(`/v1/features?${query}`, picture, signal)).blob();
}

export async function layerNames() {
  const { manifest } = await (await fetch("/v1/model")).json();
  const outputs = new Set(manifest.outputs.map((output) => output.name));
  return manifest.layers.map((layer) => layer.name).filter((name) => !outputs.has(name));
}
