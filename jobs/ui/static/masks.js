// Masks of objects: asked for twice, by a small copy of the image at once and exactly; the newest question wins.

import { send } from "./server.js";

const COLOURS = ["#ffb000", "#6c9bff", "#f0438f", "#2fd39b", "#ff7a33", "#b18bff", "#1fc8db", "#d9e04a"];

export const colourOf = (number) => COLOURS[number % COLOURS.length];

// A mask as a picture of its own colour, and where it lies in an image of `width` x `height`.
export async function decode(cutout, colour) {
  if (!cutout) return null;
  const bytes = Uint8Array.from(atob(cutout.png), (letter) => letter.charCodeAt(0));
  const shape = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  return { ...cutout, shape, picture: tinted(shape, colour) };
}

function tinted(shape, colour) {
  const canvas = new OffscreenCanvas(shape.width, shape.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(shape, 0, 0);
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = colour;
  pen.fillRect(0, 0, shape.width, shape.height);
  return canvas;
}

// `object` has name, clicks and colour; gets mask, score, thresholds. `looking` waits until the image can be clicked on.
export function askForMask(image, object, looking, changed, failed) {
  const asked = object.asked = (object.asked ?? 0) + 1;
  object.exact = false;
  object.pending = object.clicks.length > 0;
  if (!object.pending) {
    Object.assign(object, { mask: null, score: null, thresholds: [] });
    changed();
    return;
  }
  changed();
  for (const exact of [false, true]) {
    answerOf(image, object, exact, looking, () => object.asked === asked)
      .then(async (answer) => {
        if (!answer || answer.newer) return;
        const mask = await decode(answer.cutout, object.colour);
        if (object.asked !== asked || (object.exact && !exact)) return; // an older answer, or the preview came too late
        Object.assign(object, { mask, score: answer.score, thresholds: answer.thresholds, exact, pending: !exact });
        changed();
      })
      .catch((error) => {
        if (object.asked !== asked) return;
        object.pending = false;
        changed();
        failed(error);
      });
  }
}

async function answerOf(image, object, exact, looking, wanted) {
  const question = { image, object: object.name, clicks: object.clicks, box: object.box ?? null, exact };
  for (let tries = 0; wanted(); tries++) {
    await looking.ready();
    if (!wanted()) return null;
    const answer = await send("/api/mask", question);
    if (!answer.not_ready) return answer;
    looking.again();
    if (tries === 3) throw new Error("the image is not ready; click once more");
  }
  return null;
}
