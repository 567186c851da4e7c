// Which codec a video file holds: browsers do not tell, and FFmpeg places the colours of some elsewhere.

const MATROSKA_BEGINS = "\x1aE\xdf\xa3"; // WebM, too
const MATROSKA_HEAD_BYTES = 2 ** 20; // what is read of such a file: its tracks come before its frames
const [MAX_BOXES, MAX_MOOV_BYTES] = [1000, 2 ** 24]; // of an MP4 file
const NAMES = { V_VP8: "vp8", V_VP9: "vp9", V_AV1: "av1", vp08: "vp8", vp09: "vp9", av01: "av1" };

/**
 * The codec of a video file.
 *
 * @param {Blob} file in Matroska, WebM or MP4.
 * @returns {Promise<string | null>} `vp8`, `vp9` or `av1`; null for any other, H.264 above all.
 */
export async function codecOf(file) {
  const head = await textOf(file, 0, MATROSKA_HEAD_BYTES);
  const found = head.startsWith(MATROSKA_BEGINS)
    ? /(V_VP8|V_VP9|V_AV1)/.exec(head)
    : /stsd[^]{12}(vp08|vp09|av01)/.exec(await movieBox(file));
  return NAMES[found?.[1]] ?? null;
}

/** What an MP4 file says of its tracks, at its beginning or its end; empty where it is no such file. */
async function movieBox(file) {
  let at = 0;
  for (let count = 0; count < MAX_BOXES && at + 16 <= file.size; count += 1) {
    const view = new DataView(await file.slice(at, at + 16).arrayBuffer());
    const bytes = view.getUint32(0) === 1 ? Number(view.getBigUint64(8)) : view.getUint32(0);
    if (view.getUint32(4) === 0x6d6f6f76) return textOf(file, at, at + Math.min(bytes || Infinity, MAX_MOOV_BYTES));
    if (bytes < 8) break;
    at += bytes;
  }
  return "";
}

/** Bytes of a file as text of one character each. */
async function textOf(file, from, to) {
  const bytes = new Uint8Array(await file.slice(from, to).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}
