// A view as text behind the # of the page's address: JSON in the base64 that addresses take.

const START = "#view=";

export function encode(view) {
  const bytes = new TextEncoder().encode(JSON.stringify(view));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return START + text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The view of an address, or null where it has none that can be read. */
export function decode(hash) {
  if (!hash.startsWith(START)) return null;
  try {
    const text = atob(hash.slice(START.length).replaceAll("-", "+").replaceAll("_", "/"));
    const view = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
    return view !== null && typeof view === "object" ? view : null;
  } catch {
    return null;
  }
}
