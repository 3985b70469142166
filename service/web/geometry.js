// Where a value comes from: the window of each layer before it, by kernel, stride and padding.

/**
 * The places behind a value, layer by layer back to the image: a list of { layer, channel, rows, columns } with the
 * first and last row and column, clipped to the layer. `channel` is null where all channels count, and `rows` where the
 * whole layer does. The image is the layer `image`. `layers` are those of the service, in the order of computation.
 */
export function behind(layers, { layer, channel, y, x }) {
  let number = layers.findIndex(({ name }) => name === layer);
  let window = y === null ? { channel, rows: null, columns: null } : { channel, rows: [y, y], columns: [x, x] };
  const found = [];
  for (; number >= 0; number--) {
    window = before(layers[number], window);
    const name = number ? layers[number - 1].name : "image";
    const shape = number ? layers[number - 1].shape : [1, 28, 28];
    found.push({ layer: name, ...clipped(window, shape) });
  }
  return found;
}

function before({ operator, kernel, stride, padding }, { channel, rows, columns }) {
  if (operator === "Gemm") return { channel: null, rows: null, columns: null };
  if (!kernel || !rows) return { channel: operator === "Conv" ? null : channel, rows, columns };
  const widen = ([first, last]) => [first * stride - (padding ?? 0), last * stride - (padding ?? 0) + kernel - 1];
  return { channel: operator === "Conv" ? null : channel, rows: widen(rows), columns: widen(columns) };
}

function clipped({ channel, rows, columns }, [, height, width]) {
  if (!rows) return { channel, rows, columns };
  const clip = ([first, last], size) => [Math.max(0, first), Math.min(size - 1, last)];
  return { channel, rows: clip(rows, height), columns: clip(columns, width) };
}
