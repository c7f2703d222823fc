// Decode photos upright: browsers read the orientation in JPEG, PNG and AVIF, but not in WebP.

const ORIENTATION = 0x0112; // the tag in EXIF
const TURNS = { 2: [-1, 0, 0, 1], 3: [-1, 0, 0, -1], 4: [1, 0, 0, -1], 5: [0, 1, 1, 0], 6: [0, 1, -1, 0], 7: [0, -1, -1, 0], 8: [0, -1, 1, 0] };

/** Decode an image file, upright by its EXIF, with the pixels that are in it. */
export async function decode(blob) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blob, options);
  const turn = TURNS[orientationOf(await blob.arrayBuffer())];
  if (!turn) return bitmap;
  const [a, b, c, d] = turn;
  const [width, height] = a ? [bitmap.width, bitmap.height] : [bitmap.height, bitmap.width];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.setTransform(a, b, c, d, Math.min(a, c) < 0 ? width : 0, Math.min(b, d) < 0 ? height : 0);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}

/** Return the orientation (1 to 8) in the EXIF of a WebP file; undefined without one. */
function orientationOf(buffer) {
  const view = new DataView(buffer);
  const name = (at) => String.fromCharCode(...new Uint8Array(buffer.slice(at, at + 4)));
  if (name(0) !== "RIFF" || name(8) !== "WEBP") return;
  try {
    let at = 12;
    while (name(at) !== "EXIF") at += 8 + 2 * Math.ceil(view.getUint32(at + 4, true) / 2);
    at += name(at + 8) === "Exif" ? 14 : 8;
    const isLittle = view.getUint16(at) === 0x4949;
    const directory = at + view.getUint32(at + 4, isLittle);
    for (let i = view.getUint16(directory, isLittle); i > 0; i--) {
      const entry = directory + 12 * i - 10;
      if (view.getUint16(entry, isLittle) === ORIENTATION) return view.getUint16(entry + 8, isLittle);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // no EXIF, or a broken one around good pixels
  }
}
