// Which moments of a video are looked at, as deepvideo_tf/data/sampling.py and decode.py have it: pure arithmetic.

// Containers round their time stamps, Matroska to milliseconds: 0.0667 s must find the frame at 0.067.
export const STAMP_ROUNDING_S = 0.002;

/**
 * Stored frames from the first to the last frame of the model's clip, both counted.
 *
 * @param {object} clip `clip` of a model card.
 */
export function span(clip) {
  return (clip.num_frames - 1) * clip.frame_stride + 1;
}

/**
 * Times of the frames of every clip of a video, the clips evenly spread from its beginning to its end.
 *
 * @param {number} durationS length of the video, seconds.
 * @param {object} card `model` of a model card: its `clip` and `shards`.
 * @returns {number[][]} for each clip its frames' times, seconds from the first frame of the video.
 */
export function clipTimesS(durationS, { clip, shards }) {
  const { clips_per_video: clips, clip_frames: storedFrames, frame_rate_fps: rateFps } = shards;
  const firstStored = Math.floor((storedFrames - span(clip)) / 2);
  const lastS = Math.max(0, durationS - STAMP_ROUNDING_S);
  return clipStartsS(durationS, clips, storedFrames, rateFps).map((startS) =>
    Array.from({ length: clip.num_frames }, (_, index) =>
      Math.min(lastS, startS + (firstStored + index * clip.frame_stride) / rateFps),
    ),
  );
}

function clipStartsS(durationS, clips, storedFrames, rateFps) {
  const lastStartS = Math.max(0, durationS - storedFrames / rateFps);
  const distinct = 1 + Math.floor(lastStartS * rateFps + 1e-6);
  const count = Math.min(clips, distinct);
  if (count === 1) return [lastStartS / 2];
  return Array.from({ length: count }, (_, index) => (lastStartS * index) / (count - 1));
}

/**
 * The clip that ends with the newest frame of a video as it plays: at each of its times the frame on display then.
 *
 * @param {{timeS: number, pixels: Uint8Array}[]} history frames, ascending in time, seconds.
 * @param {object} card `model` of a model card.
 * @returns {Uint8Array[] | null} its frames, oldest first; null while the history is shorter than a clip.
 */
export function newestClip(history, { clip, shards }) {
  const endS = history.at(-1).timeS;
  const frames = [];
  for (let index = 0; index < clip.num_frames; index += 1) {
    const agoS = ((clip.num_frames - 1 - index) * clip.frame_stride) / shards.frame_rate_fps;
    const shown = history.findLast(({ timeS }) => timeS <= endS - agoS + STAMP_ROUNDING_S);
    if (!shown) return null;
    frames.push(shown.pixels);
  }
  return frames;
}
