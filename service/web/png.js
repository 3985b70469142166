// Pictures as PNG and as text.

/** A canvas as a PNG, at once: Chromium puts toBlob off until it is idle, for up to a second. */
export function png(canvas) {
  const [, encoded] = canvas.toDataURL("image/png").split(",");
  return new Blob([bytes(encoded)], { type: "image/png" });
}

/** The bytes of a text in base64; throws where it is none. */
export const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export async function base64(blob) {
  return btoa(Array.from(new Uint8Array(await blob.arrayBuffer()), (byte) => String.fromCharCode(byte)).join(""));
}
