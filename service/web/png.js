// Pictures as PNG and as text.

/** A canvas as a PNG, at once: Chromium puts toBlob off until it is idle, for up to a second. */
export function png(canvas) {
  const [, encoded] = canvas.toDataURL("image/png").split(",");
  return new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

export async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
