// The page itself: what the user chooses, and what he is shown.

import { clipTimesS, newestClip, span, STAMP_ROUNDING_S } from "./clips.js";
import { modelPixels, views } from "./frames.js";
import { loadModel, ModelFileError } from "./model.js";

const TOP = 5;
const MEAN_OVER_MS = 1000; // of the classes shown live, and of the rates
const LEAST_TIMES = 5; // that a rate is told from
const [WAIT_MS, MAX_WAITS] = [10, 50]; // for a frame that was sought; not all files say rightly how long one lasts
const element = (id) => document.getElementById(id);
const video = element("video");

let model = null;
let videoName = null; // null while there is no video that can be classified
let isWebcam = false;
let wholeRun = null; // an AbortController while the whole video is being classified
let isBusy = false; // with a frame of the playing video
let history = []; // frames of the playing video, long enough for a clip
let answers = []; // of the last second: when, and which probabilities
let times = []; // of the last second, or the last few: when, what the model took and what the pixels took, milliseconds

function tell(message) {
  element("status").textContent = message;
}

function showError(message) {
  element("error").textContent = message;
  element("error").hidden = false;
}

function clearError() {
  element("error").hidden = true;
  element("error").textContent = "";
}

function forgetAnswers() {
  wholeRun?.abort();
  [history, answers] = [[], []];
  element("classes").replaceChildren();
  element("views").replaceChildren();
  element("source").textContent = "Nothing classified yet.";
  forgetRates();
  element("whole").disabled = !(model && videoName && !isWebcam);
  tell(whatIsMissing());
}

function forgetRates() {
  times = [];
  for (const id of ["rate", "model-ms", "pixels-ms"]) element(id).textContent = "–";
}

function whatIsMissing() {
  if (!model) return videoName ? "Choose a model." : "Choose a model and a video.";
  if (!videoName) return "Choose a video, or use the webcam.";
  return isWebcam ? "The webcam is classified live." : "The video is classified while it plays.";
}

// Model and video

async function useModel(bytes, name) {
  clearError();
  tell(`Loading ${name} …`);
  try {
    const loaded = await loadModel(bytes, name);
    wholeRun?.abort();
    model?.delete();
    model = loaded;
    describeModel(name);
  } catch (error) {
    if (!(error instanceof ModelFileError)) throw error;
    showError(error.message);
  }
  forgetAnswers();
}

function describeModel(name) {
  const { clip, classes, model: kind } = model.card;
  const frames = clip.num_frames === 1 ? "1 frame" : `${clip.num_frames} frames`;
  element("model-about").textContent =
    `${name}: ${kind}, ${model.about.precision}, ${classes.length} classes, ` +
    `${frames} of ${clip.crop_size_px} × ${clip.crop_size_px} px`;
}

/** The model that `make web MODEL=...` lays beside the page, if there is one. */
async function useModelBesideThePage() {
  const response = await fetch("model.tflite");
  if (response.ok) await useModel(new Uint8Array(await response.arrayBuffer()), "model.tflite");
}

function releaseVideo() {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load(); // else it goes on looking for what was there
  video.controls = false; // they would tell of loading for ever after a file that is no video
  [videoName, isWebcam] = [null, false];
  forgetAnswers();
}

async function useVideoFile(file) {
  clearError();
  releaseVideo();
  video.src = URL.createObjectURL(file);
  await startVideo(file.name, `${file.name}: not a video that this browser can play.`);
}

async function useWebcam() {
  clearError();
  releaseVideo();
  if (!navigator.mediaDevices?.getUserMedia) {
    showError("The webcam is not available: browsers open it to pages on https or localhost only.");
    return;
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    const reasons = {
      NotAllowedError: "this page was not allowed to use it",
      NotFoundError: "there is none",
      NotReadableError: "it is in use, or does not answer",
    };
    showError(`The webcam is not available: ${reasons[error.name] ?? error.message}.`);
    return;
  }
  isWebcam = true;
  await startVideo("webcam", "The webcam gives no picture.");
}

async function startVideo(name, message) {
  const source = video.src || video.srcObject;
  const isStill = () => source === (video.src || video.srcObject); // another may have been chosen meanwhile
  try {
    await happens("loadeddata");
    if (isStill() && !video.videoWidth) throw new Error(message); // a sound file loads, too
  } catch {
    if (!isStill()) return;
    releaseVideo();
    showError(message);
    return;
  }
  if (!isStill()) return;
  videoName = name;
  video.controls = true;
  forgetAnswers();
  video.play().catch(() => {}); // where playing must begin with a key or a click, there are the controls
}

/** Waits for an event of the video; fails with its `error` event. */
function happens(name, signal) {
  return new Promise((resolve, reject) => {
    const ends = new AbortController();
    const end = (settle) => () => {
      ends.abort();
      settle();
    };
    video.addEventListener(name, end(resolve), { signal: ends.signal });
    video.addEventListener("error", end(() => reject(new Error("the video cannot be decoded"))), { signal: ends.signal });
    signal?.addEventListener("abort", end(() => reject(signal.reason)), { signal: ends.signal });
  });
}

// While it plays

async function onFrame(_, { mediaTime }) {
  video.requestVideoFrameCallback(onFrame);
  if (!model || !videoName || video.paused || isBusy) return;
  isBusy = true;
  try {
    await classifyShown(mediaTime);
  } catch (error) {
    showError(`This frame cannot be classified: ${error.message}`);
  } finally {
    isBusy = false;
  }
}

async function classifyShown(timeS) {
  const used = model;
  const startMs = performance.now();
  const pixels = await modelPixels(video, used.card);
  const pixelsMs = performance.now() - startMs;
  if (used !== model || video.paused) return;
  if (history.length && timeS < history.at(-1).timeS) history = []; // it began anew, or was sought in
  history.push({ timeS, pixels });
  const spanS = span(used.card.clip) / used.card.shards.frame_rate_fps;
  history = history.filter((_, index) => (history[index + 1]?.timeS ?? Infinity) > timeS - spanS);
  showViews(pixels);
  const frames = newestClip(history, used.card);
  if (!frames) return;
  const modelStartMs = performance.now();
  const row = await used.probabilities(frames);
  const atMs = performance.now();
  if (used !== model || video.paused) return;
  answers = [...answers, { atMs, row }].filter((one) => one.atMs > atMs - MEAN_OVER_MS);
  times = [...times, { atMs, modelMs: atMs - modelStartMs, pixelsMs }];
  times = times.filter((one, index) => one.atMs > atMs - MEAN_OVER_MS || index >= times.length - LEAST_TIMES);
  showClasses(mean(answers.map((one) => one.row)), "Live: the mean of the last second's clips.");
  showRates();
}

function mean(rows) {
  return Array.from(rows[0], (_, label) => rows.reduce((sum, row) => sum + row[label], 0) / rows.length);
}

// The whole video

async function classifyWhole() {
  clearError();
  wholeRun = new AbortController();
  const { signal } = wholeRun;
  element("whole").textContent = "Stop";
  forgetRates();
  video.pause();
  try {
    const clips = wantedClips();
    const rows = [];
    for (const timesS of clips) {
      tell(`Clip ${rows.length + 1} of ${clips.length} …`);
      const frames = [];
      for (const timeS of timesS) frames.push(await frameAt(timeS, signal));
      rows.push(await model.probabilities(frames));
      signal.throwIfAborted();
      showViews(frames.at(-1));
      showClasses(mean(rows), `The whole video: the mean of ${rows.length} clips.`);
    }
    const [best] = ranked(mean(rows));
    tell(`${videoName}: ${best.name}, ${percent(best.probability)}, the mean of ${rows.length} clips.`);
  } catch (error) {
    if (!signal.aborted) showError(`${videoName}: ${error.message}.`);
    tell(whatIsMissing());
  } finally {
    wholeRun = null;
    element("whole").textContent = "Classify the whole video";
  }
}

function wantedClips() {
  if (!Number.isFinite(video.duration)) throw new Error("the file does not say how long it lasts");
  return clipTimesS(video.duration, model.card);
}

/** The pixels of the frame on display at a time, seconds. */
async function frameAt(timeS, signal) {
  const soughtS = timeS + STAMP_ROUNDING_S;
  const isThere = happens("seeked", signal);
  video.currentTime = soughtS;
  await isThere;
  for (let waits = 0; waits < MAX_WAITS && !shows(soughtS); waits += 1) await pause(WAIT_MS);
  return modelPixels(video, model.card);
}

/** Whether the frame of a time is on display; a seek may have ended a moment before it is. */
function shows(timeS) {
  if (typeof VideoFrame === "undefined") return true;
  const frame = new VideoFrame(video);
  const [startS, lastsS] = [frame.timestamp / 1e6, (frame.duration ?? Infinity) / 1e6];
  frame.close();
  return startS <= timeS && timeS <= startS + lastsS + STAMP_ROUNDING_S;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// What is shown

function ranked(probabilities) {
  return Array.from(probabilities, (probability, label) => ({ probability, name: model.card.classes[label] }))
    .sort((one, other) => other.probability - one.probability)
    .slice(0, TOP);
}

function percent(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

function showClasses(probabilities, source) {
  const list = element("classes");
  ranked(probabilities).forEach(({ name, probability }, place) => {
    const item = list.children[place] ?? list.appendChild(newClassItem());
    const [label, value, bar] = item.children;
    label.textContent = name;
    value.textContent = percent(probability);
    value.value = probability.toFixed(6);
    bar.value = probability;
    bar.ariaLabel = name;
  });
  element("source").textContent = source;
}

function newClassItem() {
  const item = document.createElement("li");
  item.append(...["span", "data", "meter"].map((tag) => document.createElement(tag)));
  return item;
}

function showRates() {
  if (times.length < LEAST_TIMES) return;
  const spanS = (times.at(-1).atMs - times[0].atMs) / 1000;
  const meanOf = (name) => times.reduce((sum, one) => sum + one[name], 0) / times.length;
  element("rate").textContent = ((times.length - 1) / spanS).toFixed(1);
  element("model-ms").textContent = meanOf("modelMs").toFixed(1);
  element("pixels-ms").textContent = meanOf("pixelsMs").toFixed(1);
}

const VIEW_TEXTS = {
  fovea: "Fovea: the centre, sharp",
  context: "Context: all of it, at half the size",
  frame: "What the model sees",
};

function showViews(pixels) {
  views(pixels, model.card).forEach(({ name, sizePx, pixels: seen }, place) => {
    const canvas = element("views").children[place]?.firstChild ?? newView(name, sizePx);
    const image = new ImageData(sizePx, sizePx);
    for (let pixel = 0; pixel < sizePx * sizePx; pixel += 1) {
      image.data.set([seen[3 * pixel], seen[3 * pixel + 1], seen[3 * pixel + 2], 255], 4 * pixel);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  });
}

function newView(name, sizePx) {
  const figure = document.createElement("figure");
  const canvas = figure.appendChild(document.createElement("canvas"));
  Object.assign(canvas, { width: sizePx, height: sizePx, role: "img", ariaLabel: VIEW_TEXTS[name] });
  canvas.dataset.view = name;
  const caption = figure.appendChild(document.createElement("figcaption"));
  caption.textContent = `${VIEW_TEXTS[name]}, ${sizePx} × ${sizePx} px`;
  element("views").append(figure);
  return canvas;
}

// Events

/** Runs what an event asks for; whatever goes wrong in it is shown. */
function on(id, name, act) {
  element(id).addEventListener(name, () => act().catch((error) => showError(`That did not work: ${error.message}`)));
}

on("model-file", "change", async () => {
  const [file] = element("model-file").files;
  if (file) await useModel(new Uint8Array(await file.arrayBuffer()), file.name);
});
on("video-file", "change", async () => {
  const [file] = element("video-file").files;
  if (file) await useVideoFile(file);
});
on("webcam", "click", useWebcam);
on("whole", "click", async () => {
  if (wholeRun) wholeRun.abort(new Error("stopped"));
  else await classifyWhole();
});
video.addEventListener("play", () => wholeRun?.abort(new Error("stopped")));
if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(onFrame);
else showError("This browser does not tell when a video shows a frame: it is too old for this page.");
if (typeof WebAssembly === "undefined") {
  showError("This browser has no WebAssembly, or it is switched off: models cannot run here.");
}
useModelBesideThePage().catch((error) => showError(`That did not work: ${error.message}`));
