// Decode photos upright: browsers read the orientation in JPEG, PNG and AVIF, but not in WebP.

const ORIENTATION = 0x0112; // the tag in EXIF

/** Decode an image file, upright by its EXIF, with the pixels that are in it. */
export async function decode(blob) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blob, options);
  const turn = webpOrientation(new Uint8Array(await blob.arrayBuffer()));
  return turn === 1 ? bitmap : upright(bitmap, turn);
}

/** Return the orientation (1 to 8) in the EXIF of a WebP file; 1 for other files. */
function webpOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const name = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || name(0) !== "RIFF" || name(8) !== "WEBP") return 1;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    if (name(at) === "EXIF") {
      const start = at + 8 + (name(at + 8) === "Exif" ? 6 : 0);
      return exifOrientation(new DataView(view.buffer, view.byteOffset + start));
    }
    at += 8 + size + (size % 2);
  }
  return 1;
}

function exifOrientation(view) {
  try {
    const isLittle = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, isLittle);
    const count = view.getUint16(directory, isLittle);
    for (let i = 0; i < count; i++) {
      const entry = directory + 2 + 12 * i;
      if (view.getUint16(entry, isLittle) === ORIENTATION) {
        const value = view.getUint16(entry + 8, isLittle);
        return value >= 1 && value <= 8 ? value : 1;
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // broken EXIF around good pixels
  }
  return 1;
}

/** Return an ImageBitmap turned by its orientation; the given one is used up. */
function upright(bitmap, orientation) {
  const { width, height } = bitmap;
  const isSideways = orientation >= 5;
  const canvas = new OffscreenCanvas(isSideways ? height : width, isSideways ? width : height);
  const transforms = {
    2: [-1, 0, 0, 1, width, 0],
    3: [-1, 0, 0, -1, width, height],
    4: [1, 0, 0, -1, 0, height],
    5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, height, 0],
    7: [0, -1, -1, 0, height, width],
    8: [0, -1, 1, 0, 0, width],
  };
  const context = canvas.getContext("2d");
  context.setTransform(...transforms[orientation]);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}
