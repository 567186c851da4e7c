// The page itself: what the user chooses, and what he is shown.

import { clipTimesS, newestClip, span, STAMP_ROUNDING_S } from "./clips.js";
import { codecOf } from "./codec.js";
import { modelPixels, views } from "./frames.js";
import { loadModel, ModelFileError } from "./model.js";

const TOP = 5;
const MEAN_OVER_MS = 1000; // of the classes shown live, and of the rates
const LEAST_TIMES = 5; // that a rate is told from
const [WAIT_MS, MAX_WAITS] = [10, 50]; // for a frame that was sought; not all files say rightly how long one lasts
const element = (id) => document.getElementById(id);
const video = element("video");

const NONE = "none chosen";
const MOVED = "Stopped: the video was moved to another time.";
const SAME_TIME_S = 1e-3; // browsers round the time that is sought

let model = null;
let modelChoices = 0; // so far: of two that load at once, the one chosen last is used
let videoChoices = 0; // likewise
let videoName = null; // null while there is no video that can be classified
let videoCodec = null; // as `codecOf` names it
let isWebcam = false;
let wholeRun = null; // an AbortController while the whole video is being classified
let soughtS = null; // the time that its run has sought, seconds
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

/** Loads a model from the bytes that `read` gives, as a promise; the one before it stays where it is refused. */
async function useModel(name, read) {
  modelChoices += 1;
  const choice = modelChoices;
  clearError();
  tell(`Loading ${name} …`);
  try {
    const loaded = await loadModel(new Uint8Array(await read()), name);
    if (choice !== modelChoices) {
      loaded.delete();
      return;
    }
    wholeRun?.abort();
    model?.delete();
    model = loaded;
    describeModel(name);
  } catch (error) {
    if (choice !== modelChoices) return;
    showError(error instanceof ModelFileError ? error.message : `${name}: it cannot be read: ${error.message}`);
  }
  forgetAnswers();
}

/** Says which file is in use, in place of the browser's own words, which know only of the last choice. */
function showName(id, name) {
  Object.assign(element(id), { textContent: name ?? NONE, title: name ?? "" });
}

function describeModel(name) {
  const { clip, classes, model: kind } = model.card;
  showName("model-name", name);
  const frames = clip.num_frames === 1 ? "1 frame" : `${clip.num_frames} frames`;
  element("model-about").textContent =
    `${name}: ${kind}, ${model.about.precision}, ${classes.length} classes, ` +
    `${frames} of ${clip.crop_size_px} × ${clip.crop_size_px} px`;
}

/** The model that `make web MODEL=...` lays beside the page, if there is one. */
async function useModelBesideThePage() {
  const response = await fetch("model.tflite");
  if (response.ok && !modelChoices) await useModel("model.tflite", () => response.arrayBuffer());
}

function releaseVideo() {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load(); // else it goes on looking for what was there
  video.controls = false; // they would tell of loading for ever after a file that is no video
  [videoName, isWebcam] = [null, false];
  showName("video-name", null);
  forgetAnswers();
}

async function useVideoFile(file) {
  videoChoices += 1;
  clearError();
  releaseVideo();
  video.src = URL.createObjectURL(file);
  await startVideo(file.name, `${file.name}: not a video that this browser can play.`, codecOf(file));
}

async function useWebcam() {
  clearError();
  if (!navigator.mediaDevices?.getUserMedia) {
    showError("The webcam is not available: browsers open it to pages on https or localhost only.");
    return;
  }
  const choices = videoChoices;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true }); // until then what plays goes on
  } catch (error) {
    const reasons = {
      NotAllowedError: "this page was not allowed to use it",
      NotFoundError: "there is none",
      NotReadableError: "it is in use, or does not answer",
    };
    showError(`The webcam is not available: ${reasons[error.name] ?? error.message}.`);
    return;
  }
  if (choices !== videoChoices) {
    stream.getTracks().forEach((track) => track.stop());
    return;
  }
  videoChoices += 1;
  releaseVideo();
  video.srcObject = stream;
  isWebcam = true;
  await startVideo("webcam", "The webcam gives no picture.");
}

async function startVideo(name, message, codec = null) {
  const choice = videoChoices;
  const isStill = () => choice === videoChoices; // another may have been chosen meanwhile
  try {
    const [found] = await Promise.all([codec, happens("loadeddata")]);
    if (isStill()) videoCodec = found;
    if (isStill() && !video.videoWidth) throw new Error(message); // a sound file loads, too
  } catch {
    if (!isStill()) return;
    releaseVideo();
    showError(message);
    return;
  }
  if (!isStill()) return;
  videoName = name;
  showName("video-name", name);
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
  const pixels = await modelPixels(video, used.card, videoCodec);
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
    const clips = clipTimesS(await lengthS(signal), model.card);
    const rows = [];
    for (const timesS of clips) {
      tell(`Clip ${rows.length + 1} of ${clips.length} …`);
      const frames = [];
      for (const timeS of timesS) frames.push(await frameAt(timeS, signal));
      rows.push(await model.probabilities(frames));
      signal.throwIfAborted();
      showViews(frames.at(-1));
      const isAll = rows.length === clips.length;
      const seen = isAll ? `The whole video: the mean of ${rows.length} clips.` : `The first ${rows.length} of ${clips.length} clips.`;
      showClasses(mean(rows), seen);
    }
    const [best] = ranked(mean(rows));
    tell(`${videoName}: ${best.name}, ${percent(best.probability)}, the mean of ${rows.length} clips.`);
  } catch (error) {
    if (!signal.aborted) showError(`${videoName}: ${error.message}.`);
    tell(signal.reason === MOVED ? MOVED : whatIsMissing());
  } finally {
    [wholeRun, soughtS] = [null, null];
    element("whole").textContent = "Classify the whole video";
  }
}

/** Seconds to the end of the last frame. The file may last longer: its sound does, or its container rounds. */
async function lengthS(signal) {
  if (!Number.isFinite(video.duration)) throw new Error("the file does not say how long it lasts");
  if (typeof VideoFrame === "undefined") return video.duration;
  await seek(video.duration - STAMP_ROUNDING_S, signal);
  const frame = new VideoFrame(video);
  const endS = frame.duration ? (frame.timestamp + frame.duration) / 1e6 : Infinity;
  frame.close();
  return Math.min(video.duration, endS);
}

/** The pixels of the frame on display at a time, seconds. */
async function frameAt(timeS, signal) {
  await seek(timeS, signal);
  return modelPixels(video, model.card, videoCodec);
}

async function seek(timeS, signal) {
  soughtS = timeS + STAMP_ROUNDING_S;
  const isThere = happens("seeked", signal);
  video.currentTime = soughtS;
  await isThere;
  for (let waits = 0; waits < MAX_WAITS && !shows(timeS + STAMP_ROUNDING_S); waits += 1) await pause(WAIT_MS);
  signal.throwIfAborted();
}

/** Ends the run on the whole video where somebody else has sought in it: its frames would be other ones. */
function onSeeking() {
  if (soughtS !== null && Math.abs(video.currentTime - soughtS) > SAME_TIME_S) wholeRun?.abort(MOVED);
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
    Object.assign(label, { textContent: name, title: name }); // long names are cut
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

/** The file that was just chosen, if one was. The field is emptied: choosing the same one again is a choice, too. */
function chosenFile(id) {
  const [file] = element(id).files;
  element(id).value = "";
  return file;
}

on("model-file", "change", async () => {
  const file = chosenFile("model-file");
  if (file) await useModel(file.name, () => file.arrayBuffer());
});
on("video-file", "change", async () => {
  const file = chosenFile("video-file");
  if (file) await useVideoFile(file);
});
on("webcam", "click", useWebcam);
on("whole", "click", async () => {
  if (wholeRun) wholeRun.abort(new Error("stopped"));
  else await classifyWhole();
});
video.addEventListener("seeking", onSeeking);
video.addEventListener("play", () => wholeRun?.abort(new Error("stopped")));
if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(onFrame);
else showError("This browser does not tell when a video shows a frame: it is too old for this page.");
if (typeof WebAssembly === "undefined") {
  showError("This browser has no WebAssembly, or it is switched off: models cannot run here.");
}
useModelBesideThePage().catch((error) => showError(`That did not work: ${error.message}`));
