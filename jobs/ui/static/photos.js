// Photos and what is known of them; the next one is fetched while people look at this one.

import { ask } from "./server.js";

const kept = new Map();
const KEPT = 3;

export function photoOf(image) {
  if (!kept.has(image)) {
    const photo = ask("/api/photo", { image }).then((blob) => createImageBitmap(blob));
    photo.catch(() => kept.delete(image));
    kept.set(image, photo);
    while (kept.size > KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(image);
}
