// A TFLite file of deepvideo-export-tflite: its class names and clips from its model card, and its answers.

import { span } from "./clips.js";

const CARD_NAME = "model_card.json";
const RUNTIME_FOLDER = new URL("litert/wasm/", document.baseURI).href;

const BOUNDS = {
  clip: { num_frames: [1, 1000], frame_stride: [1, 1000], crop_size_px: [11, 2000] },
  shards: { clips_per_video: [1, 10000], clip_frames: [16, 1000], frame_size_px: [16, 2000] },
};

/** What is wrong with a model's file, in a sentence for the user. */
export class ModelFileError extends Error {}

let runtime = null; // LiteRT's module, as a promise, from the first model on

/**
 * Loads a model.
 *
 * @param {Uint8Array} bytes of the file.
 * @param {string} name of the file, for messages.
 * @returns {Promise<object>} `card`, the `ModelCard` of deepvideo_tf/config/run.py as plain data; `about`, what else its file
 *   tells; `probabilities`, from frames (`clip.num_frames` arrays of `modelPixels`) to one probability a class; `delete`.
 * @throws {ModelFileError} it is no such file, or a damaged one, or the browser has no WebAssembly.
 */
export async function loadModel(bytes, name) {
  const { about, flatbufferBytes } = readCard(bytes, name);
  const card = checkedCard(about, name);
  const flatbuffer = bytes.subarray(0, flatbufferBytes);
  await checkHash(flatbuffer, about.flatbuffer_sha256, name);
  if (typeof WebAssembly === "undefined") {
    throw new ModelFileError("This browser has no WebAssembly, or it is switched off: models cannot run here.");
  }
  const litert = await loadRuntime();
  let compiled;
  try {
    compiled = await litert.loadAndCompile(flatbuffer, { accelerator: "wasm" });
  } catch (error) {
    throw new ModelFileError(`${name}: LiteRT cannot load it: ${error?.message ?? error}`);
  }
  checkShapes(compiled, card, name);
  return {
    card,
    about,
    probabilities: (frames) => answer(litert, compiled, frames, card.clip),
    delete: () => compiled.delete(),
  };
}

function loadRuntime() {
  runtime ??= startRuntime().catch((error) => {
    runtime = null;
    throw new ModelFileError(`LiteRT's WebAssembly cannot be loaded: ${error?.message ?? error}`);
  });
  return runtime;
}

async function startRuntime() {
  const litert = await import("@litertjs/core");
  await litert.loadLiteRt(RUNTIME_FOLDER);
  return litert;
}

async function answer(litert, compiled, frames, clip) {
  const frameBytes = clip.crop_size_px * clip.crop_size_px * 3;
  const values = new Uint8Array(clip.num_frames * frameBytes);
  frames.forEach((pixels, index) => values.set(pixels, index * frameBytes));
  const tensor = new litert.Tensor(values, shapeOf(clip));
  try {
    const { probabilities } = await compiled.run({ clip: tensor });
    const row = Float32Array.from(probabilities.toTypedArray());
    probabilities.delete();
    return row;
  } finally {
    tensor.delete();
  }
}

function shapeOf(clip) {
  return [1, clip.num_frames, clip.crop_size_px, clip.crop_size_px, 3];
}

/** The model card, from the zip archive behind the flatbuffer; its members are stored as they are. */
function readCard(bytes, name) {
  try {
    const members = zipMembers(bytes);
    const about = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(members.get(CARD_NAME).content));
    return { about, flatbufferBytes: Math.min(...[...members.values()].map(({ offset }) => offset)) };
  } catch {
    throw new ModelFileError(
      `${name}: not a TFLite file of this package, or a damaged one: expected ${CARD_NAME} in it, ` +
        "as deepvideo-export-tflite writes it.",
    );
  }
}

/** By name, where each member of an archive begins and what it holds. */
function zipMembers(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (view.getUint32(end, true) !== 0x06054b50) end -= 1; // a RangeError where there is no archive
  const members = new Map();
  let entry = view.getUint32(end + 16, true);
  for (let number = view.getUint16(end + 10, true); number > 0; number -= 1) {
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((at) => view.getUint16(entry + at, true));
    const offset = view.getUint32(entry + 42, true);
    const isStored = view.getUint16(entry + 10, true) === 0;
    const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
    const content = isStored ? bytes.subarray(start, start + view.getUint32(entry + 24, true)) : null;
    members.set(new TextDecoder().decode(bytes.subarray(entry + 46, entry + 46 + nameBytes)), { offset, content });
    entry += 46 + nameBytes + extraBytes + commentBytes;
  }
  return members;
}

function checkedCard(about, name) {
  const card = about?.model;
  const wrong = whatIsWrong(card);
  if (wrong) throw new ModelFileError(`${name}: its model card cannot be used: ${wrong}.`);
  return card;
}

/** The first field of a card that is not what deepvideo_tf/config/run.py lets it be, in words; null where there is none. */
function whatIsWrong(card) {
  if (typeof card?.model !== "string") return "model must be a name";
  const { classes } = card;
  if (!Array.isArray(classes) || !classes.length || !classes.every((one) => typeof one === "string")) {
    return "classes must be a list of class names";
  }
  for (const [part, bounds] of Object.entries(BOUNDS)) {
    for (const [field, [least, most]] of Object.entries(bounds)) {
      const value = card[part]?.[field];
      if (!Number.isInteger(value) || value < least || value > most) {
        return `${part}.${field} must be a whole number from ${least} to ${most}`;
      }
    }
  }
  const { clip, shards } = card;
  const rateFps = shards.frame_rate_fps;
  if (typeof rateFps !== "number" || !(rateFps > 0 && rateFps < 1000)) {
    return "shards.frame_rate_fps must be a number above 0 and below 1000";
  }
  if (clip.crop_size_px > shards.frame_size_px) return "clip.crop_size_px must be at most shards.frame_size_px";
  if (span(clip) > shards.clip_frames) return "clip must not be longer than shards.clip_frames";
  return null;
}

/** Refuses a flatbuffer whose bytes are not those that were written. Browsers hash only on https and localhost. */
async function checkHash(flatbuffer, expected, name) {
  if (!globalThis.crypto?.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", flatbuffer));
  if (Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") !== expected) {
    throw new ModelFileError(`${name}: its bytes are not what its model card says: the file is damaged.`);
  }
}

function checkShapes(compiled, card, name) {
  const [clip] = compiled.getInputDetails();
  const [output] = compiled.getOutputDetails();
  const came = `${clip.dtype} [${[...clip.shape]}] to [${[...output.shape]}]`;
  const expected = `uint8 [${shapeOf(card.clip)}] to [${[1, card.classes.length]}]`;
  if (came !== expected) {
    compiled.delete();
    throw new ModelFileError(`${name}: its model card is of a model from ${expected}, its model is from ${came}.`);
  }
}
