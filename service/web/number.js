// Numbers as they are written on the page: with a true minus sign, and always as wide.

export function written(value, digits = 3) {
  const text = Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 10 ** -digits / 2)
    ? value.toExponential(1)
    : value.toFixed(digits);
  return text.replaceAll("-", "−");
}

/** The largest magnitude of values, which the last colour stands for. */
export const magnitude = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
