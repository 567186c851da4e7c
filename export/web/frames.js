// From the frame that a video shows to the pixels that the model takes: the centre square, shrunk to the size of the
// stored frames, its centre cut out.
//
// The Python side does it in FFmpeg's scaler, and a model notices single grey levels. So this is that scaler's
// arithmetic: brightness and colour are shrunk as the video stores them, the two colour planes to half the width, and
// turned into red, green and blue last.

// FFmpeg's integers for the two matrices, by their name in WebCodecs: red of V, blue of U, green of U, green of V.
const MATRICES = { bt709: [117489, 138438, -13975, -34925], other: [104597, 132201, -25675, -53279] };
const BRIGHTNESS = [0.299, 0.587, 0.114];

// FFmpeg's decoder of H.264 says that a colour sample lies on the left one of its two pixels, which is the shift in
// samples; those of VP8, VP9 and AV1 leave it open, and its scaler then takes the middle of the two.
const [LEFT, MIDDLE] = [0.25, 0];
const OPEN_CODECS = ["vp8", "vp9", "av1"];

/**
 * The pixels that a model sees of the frame on display.
 *
 * @param {HTMLVideoElement} video one that shows a frame.
 * @param {object} card `model` of a model card.
 * @param {string | null} codec of the video, from `codecOf`.
 * @returns {Promise<Uint8Array>} red, green and blue of `crop_size_px` times `crop_size_px` pixels, 0 to 255.
 */
export async function modelPixels(video, card, codec) {
  const source = (await storedPlanes(video, codec)) ?? drawnPlanes(video);
  const { shards, clip } = card;
  const target = targetSize(source.displayWidth, source.displayHeight, shards.frame_size_px);
  const offset = Math.floor((shards.frame_size_px - clip.crop_size_px) / 2);
  const box = {
    left: Math.floor((target.width - shards.frame_size_px) / 2) + offset,
    top: Math.floor((target.height - shards.frame_size_px) / 2) + offset,
    sizePx: clip.crop_size_px,
  };
  return toRgb(source, target, box);
}

/** Width and height that a frame is shrunk to: the short side to the square, the long one to a multiple of 4 more. */
function targetSize(width, height, sizePx) {
  const shortSide = Math.min(width, height);
  const side = (extent) => sizePx + 4 * roundHalfEven((sizePx * (extent / shortSide - 1)) / 4);
  return { width: side(width), height: side(height) };
}

function roundHalfEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/** The planes as the video stores them; null where the browser does not give them out, or the picture is turned. */
async function storedPlanes(video, codec) {
  if (typeof VideoFrame === "undefined") return null;
  const frame = new VideoFrame(video);
  try {
    if (!["I420", "NV12"].includes(frame.format) || frame.rotation) return null;
    const { width, height } = frame.visibleRect;
    const data = new Uint8Array(frame.allocationSize());
    const layout = await frame.copyTo(data);
    const half = { width: Math.ceil(width / 2), height: Math.ceil(height / 2), step: frame.format === "NV12" ? 2 : 1 };
    const plane = (number, shape, first = 0) => ({
      data: data.subarray(layout[number].offset + first),
      stride: layout[number].stride,
      ...shape,
    });
    const colours =
      frame.format === "NV12" ? [plane(1, half), plane(1, half, 1)] : [plane(1, half), plane(2, half)];
    return {
      planes: [plane(0, { width, height, step: 1 }), ...colours],
      shift: OPEN_CODECS.includes(codec) ? MIDDLE : LEFT,
      matrix: frame.colorSpace.matrix === "bt709" && codec !== "vp8" ? "bt709" : "other", // VP8 knows but one
      fullRange: frame.colorSpace.fullRange === true,
      displayWidth: frame.displayWidth,
      displayHeight: frame.displayHeight,
    };
  } finally {
    frame.close();
  }
}

const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });

/** The picture as the browser draws it, turned back into planes of brightness and colour. */
function drawnPlanes(video) {
  const [width, height] = [video.videoWidth, video.videoHeight];
  Object.assign(canvas, { width, height });
  context.drawImage(video, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const planes = [0, 1, 2].map(() => new Float32Array(width * height));
  const [red, green, blue] = BRIGHTNESS;
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const [r, g, b] = [data[4 * pixel], data[4 * pixel + 1], data[4 * pixel + 2]];
    const light = red * r + green * g + blue * b;
    planes[0][pixel] = 16 + (light * 219) / 255;
    planes[1][pixel] = 128 + ((b - light) * 112) / 255 / (1 - blue);
    planes[2][pixel] = 128 + ((r - light) * 112) / 255 / (1 - red);
  }
  return {
    planes: planes.map((data) => ({ data, stride: width, width, height, step: 1 })),
    shift: MIDDLE,
    matrix: "other",
    fullRange: false,
    displayWidth: width,
    displayHeight: height,
  };
}

function toRgb({ planes, shift, matrix, fullRange }, target, { left, top, sizePx }) {
  const rows = { length: target.height, from: top, count: sizePx };
  const firstPair = left >> 1; // two pixels side by side share one colour
  const pairs = { length: (target.width + 1) >> 1, from: firstPair, count: ((left + sizePx - 1) >> 1) - firstPair + 1 };
  // FFmpeg has a path of its own where every target row is made of two rows, and that one does not round.
  const isOfTwoRows = planes.every(({ height }) => mostTaps(weights(height, rows, 0)) === 2);
  const half = isOfTwoRows ? 0 : 0.5;
  const light = shrink(planes[0], rows, { length: target.width, from: left, count: sizePx }, 0, half);
  const [blueness, redness] = planes.slice(1).map((plane) => shrink(plane, rows, pairs, shift, half));
  const convert = conversion(MATRICES[matrix], fullRange);
  const pixels = new Uint8Array(sizePx * sizePx * 3);
  for (let row = 0; row < sizePx; row += 1) {
    for (let column = 0; column < sizePx; column += 1) {
      const pair = row * pairs.count + ((left + column) >> 1) - firstPair;
      const pixel = row * sizePx + column;
      convert(light[pixel], blueness[pair], redness[pair], pixels, 3 * pixel);
    }
  }
  return pixels;
}

/**
 * FFmpeg's conversion by tables, as one formula: a colour moves a pixel along the scale of brightness, by whole steps.
 * With the usual range of brightness (16 to 235) the tables begin 1.8 levels too dark; trained models are used to it.
 */
function conversion(coefficients, fullRange) {
  const scale = fullRange ? 65536 : Math.floor((65536 * 255) / 219);
  const steps = coefficients.map((value) => {
    const ranged = fullRange ? Math.trunc((value * 224) / 255) : value;
    return Math.trunc((ranged * 65536 + 32768) / scale);
  });
  const move = (step, colour) => Math.floor((step * colour) / 65536) - Math.floor(step / 512);
  const [before, dark] = fullRange ? [0, 0] : [326, 400];
  const level = (step) => Math.min(255, Math.max(0, (scale * (step + before) - dark * 65536 + 32768) >> 16));
  return (light, blueness, redness, pixels, at) => {
    pixels[at] = level(light + move(steps[0], redness));
    pixels[at + 1] = level(light + move(steps[2], blueness) + move(steps[3], redness));
    pixels[at + 2] = level(light + move(steps[1], blueness));
  };
}

/**
 * A part of a shrunk plane, first along its rows, then along its columns.
 *
 * @param {object} plane its `data`, `width`, `height`, the `stride` from row to row and the `step` from value to value.
 * @param {object} rows the `length` of the whole target, and `from` where on how many (`count`) are wanted.
 * @param {object} columns the same of its width.
 * @param {number} shift how far the samples lie left of the centre of what they stand for, in samples.
 * @param {number} half what is added before the fraction is cut off.
 * @returns {Int32Array} whole values, `rows.count` times `columns.count`.
 */
function shrink(plane, rows, columns, shift, half) {
  const [down, across] = [weights(plane.height, rows, 0), weights(plane.width, columns, shift)];
  const firstRow = Math.min(...down.map(({ first }) => first));
  const endRow = Math.max(...down.map(({ first, values }) => first + values.length));
  const narrow = new Float64Array((endRow - firstRow) * columns.count);
  for (let row = firstRow; row < endRow; row += 1) {
    across.forEach(({ first, values }, column) => {
      let sum = 0;
      let at = row * plane.stride + first * plane.step;
      for (let tap = 0; tap < values.length; tap += 1, at += plane.step) sum += values[tap] * plane.data[at];
      narrow[(row - firstRow) * columns.count + column] = sum;
    });
  }
  const small = new Int32Array(rows.count * columns.count);
  down.forEach(({ first, values }, row) => {
    for (let column = 0; column < columns.count; column += 1) {
      let sum = 0;
      let at = (first - firstRow) * columns.count + column;
      for (let tap = 0; tap < values.length; tap += 1, at += columns.count) sum += values[tap] * narrow[at];
      small[row * columns.count + column] = Math.floor(sum + half);
    }
  });
  return small;
}

const known = new Map();

/** For each target pixel its `first` source pixel and the `values` of all that it averages, which sum to 1. */
function weights(sourceLength, { length, from, count }, shift) {
  const key = [sourceLength, length, from, count, shift].join();
  if (!known.has(key)) {
    if (known.size > 64) known.clear();
    known.set(
      key,
      Array.from({ length: count }, (_, index) => weightsOf(from + index, sourceLength, sourceLength / length, shift)),
    );
  }
  return known.get(key);
}

function mostTaps(list) {
  return Math.max(...list.map(({ values }) => values.filter((value) => value > 1e-3).length));
}

/** Where a plane shrinks, the area that a target pixel covers; where it grows, the two neighbours by their distance. */
function weightsOf(target, sourceLength, scale, shift) {
  const centre = (target + 0.5) * scale + shift;
  const reach = scale > 1 ? scale / 2 : 1;
  const weight = (source) =>
    scale > 1
      ? Math.min(centre + reach, source + 1) - Math.max(centre - reach, source)
      : 1 - Math.abs(source + 0.5 - centre);
  const lowest = scale > 1 ? Math.floor(centre - reach) : Math.floor(centre - 0.5);
  const highest = scale > 1 ? Math.ceil(centre + reach) - 1 : lowest + 1;
  const inside = (source) => Math.min(sourceLength - 1, Math.max(0, source)); // the border goes on
  const first = inside(lowest);
  const values = new Array(inside(highest) - first + 1).fill(0);
  let sum = 0;
  for (let source = lowest; source <= highest; source += 1) {
    values[inside(source) - first] += weight(source);
    sum += weight(source);
  }
  return { first, values: Float64Array.from(values, (value) => value / sum) };
}

/**
 * What the streams of a model see of a frame, as deepvideo_tf/models/multires.py cuts it.
 *
 * @param {Uint8Array} pixels from `modelPixels`.
 * @param {object} card `model` of a model card.
 * @returns {{name: string, sizePx: number, pixels: Uint8Array}[]} red, green and blue of each view.
 */
export function views(pixels, card) {
  const sizePx = card.clip.crop_size_px;
  const kind = card.model.split("_")[0];
  const found = [];
  if (kind === "multires" || kind === "fovea") found.push({ name: "fovea", ...fovea(pixels, sizePx) });
  if (kind === "multires" || kind === "context") found.push({ name: "context", ...contextView(pixels, sizePx) });
  return found.length ? found : [{ name: "frame", sizePx, pixels }];
}

function fovea(pixels, cropSizePx) {
  const sizePx = Math.ceil(cropSizePx / 2);
  const before = Math.floor((cropSizePx - sizePx) / 2);
  const centre = new Uint8Array(sizePx * sizePx * 3);
  for (let row = 0; row < sizePx; row += 1) {
    const from = ((before + row) * cropSizePx + before) * 3;
    centre.set(pixels.subarray(from, from + sizePx * 3), row * sizePx * 3);
  }
  return { sizePx, pixels: centre };
}

function contextView(pixels, cropSizePx) {
  const sizePx = Math.ceil(cropSizePx / 2);
  const half = new Uint8Array(sizePx * sizePx * 3);
  for (let value = 0; value < half.length; value += 1) {
    const [row, column, colour] = [Math.floor(value / 3 / sizePx), Math.floor(value / 3) % sizePx, value % 3];
    let [sum, count] = [0, 0];
    for (let y = 2 * row; y < Math.min(2 * row + 2, cropSizePx); y += 1) {
      for (let x = 2 * column; x < Math.min(2 * column + 2, cropSizePx); x += 1) {
        sum += pixels[(y * cropSizePx + x) * 3 + colour];
        count += 1;
      }
    }
    half[value] = Math.round(sum / count);
  }
  return { sizePx, pixels: half };
}
