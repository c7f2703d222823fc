// Grey images, and resizing them with the arithmetic of Pillow, so that the page finds and crops the
// same pixels as fer/images/detection.py.
//
// A grey image is {width, height, data}, data a Uint8Array of height x width, 0 black to 255 white.

const PRECISION = 22; // bits of Pillow's fixed-point weights (Resample.c)

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: (x) => {
      const d = Math.abs(x);
      if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * -0.5 : 0;
    },
  },
};

/** Round half to even, as Python does. */
export function round(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Convert an ImageData to grey; transparent parts become white. */
export function grey({ width, height, data }) {
  const result = new Uint8Array(width * height);
  for (let i = 0; i < result.length; i++) {
    const alpha = data[4 * i + 3];
    const r = onWhite(data[4 * i], alpha);
    const g = onWhite(data[4 * i + 1], alpha);
    const b = onWhite(data[4 * i + 2], alpha);
    result[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
  }
  return { width, height, data: result };
}

function onWhite(value, alpha) {
  return alpha === 255 ? value : Math.round((value * alpha + 255 * (255 - alpha)) / 255);
}

/** Return a part of an image; beyond the edge, its last pixels repeat. */
export function crop({ width, height, data }, [left, top, right, bottom]) {
  const result = new Uint8Array((right - left) * (bottom - top));
  const clamp = (value, size) => Math.min(Math.max(value, 0), size - 1);
  let i = 0;
  for (let y = top; y < bottom; y++) {
    const row = clamp(y, height) * width;
    for (let x = left; x < right; x++) result[i++] = data[row + clamp(x, width)];
  }
  return { width: right - left, height: bottom - top, data: result };
}

/**
 * Resize the part of an image in a box of fractions of pixels: Image.resize of Pillow.
 *
 * With reducingGap, whole pixels are averaged first, until the image is that many times larger than
 * the result.
 */
export function resize(image, width, height, filter, { box, reducingGap } = {}) {
  let source = image;
  let area = box ?? [0, 0, image.width, image.height];
  if (reducingGap) {
    const factorX = Math.trunc((area[2] - area[0]) / width / reducingGap) || 1;
    const factorY = Math.trunc((area[3] - area[1]) / height / reducingGap) || 1;
    if (factorX > 1 || factorY > 1) {
      source = reduce(image, factorX, factorY);
      area = [area[0] / factorX, area[1] / factorY, area[2] / factorX, area[3] / factorY];
    }
  }
  const [left, top, right, bottom] = area.map(Math.fround);
  const { support, weight } = FILTERS[filter];
  const passes = [];
  if (width !== source.width || left !== 0 || right !== width) {
    const columns = weights(source.width, left, right, width, support, weight);
    passes.push((from) => resizeRows(from, columns));
  }
  if (height !== source.height || top !== 0 || bottom !== height) {
    const rows = weights(source.height, top, bottom, height, support, weight);
    passes.push((from) => resizeColumns(from, rows));
  }
  // Pillow 13 starts with the height if it shrinks much more than the width.
  if (source.height - height > Math.max(0, 2 * (source.width - width))) passes.reverse();
  return passes.reduce((from, pass) => pass(from), source);
}

/** Return, for each pixel of the result, the first pixel it depends on and the weights. */
function weights(size, start, end, count, support, weight) {
  const scale = Math.fround(end - start) / count;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: count }, (_, i) => {
    const center = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support * stretch + 0.5));
    const last = Math.min(size, Math.trunc(center + support * stretch + 0.5));
    const values = [];
    for (let x = first; x < last; x++) values.push(weight((x - center + 0.5) / stretch));
    const sum = values.reduce((a, b) => a + b, 0);
    const fixed = values.map((v) => {
      const scaled = (v / sum) * (1 << PRECISION);
      return Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5));
    });
    return { first, fixed: Int32Array.from(fixed) };
  });
}

function resizeRows({ width, height, data }, columns) {
  const result = new Uint8ClampedArray(columns.length * height);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    for (let x = 0; x < columns.length; x++) {
      const { first, fixed } = columns[x];
      let sum = 1 << (PRECISION - 1);
      for (let k = 0; k < fixed.length; k++) sum += data[row + first + k] * fixed[k];
      result[y * columns.length + x] = sum >> PRECISION;
    }
  }
  return { width: columns.length, height, data: new Uint8Array(result.buffer) };
}

function resizeColumns({ width, data }, rows) {
  const result = new Uint8ClampedArray(width * rows.length);
  for (let y = 0; y < rows.length; y++) {
    const { first, fixed } = rows[y];
    for (let x = 0; x < width; x++) {
      let sum = 1 << (PRECISION - 1);
      for (let k = 0; k < fixed.length; k++) sum += data[(first + k) * width + x] * fixed[k];
      result[y * width + x] = sum >> PRECISION;
    }
  }
  return { width, height: rows.length, data: new Uint8Array(result.buffer) };
}

/** Average blocks of pixels: Image.reduce of Pillow. */
function reduce({ width, height, data }, factorX, factorY) {
  const [columns, rows] = [Math.ceil(width / factorX), Math.ceil(height / factorY)];
  const result = new Uint8Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min((row + 1) * factorY, height);
    for (let column = 0; column < columns; column++) {
      const right = Math.min((column + 1) * factorX, width);
      let sum = 0;
      for (let y = row * factorY; y < bottom; y++) {
        for (let x = column * factorX; x < right; x++) sum += data[y * width + x];
      }
      const count = (bottom - row * factorY) * (right - column * factorX);
      const multiplier = Math.trunc(2 ** 24 / count);
      result[row * columns + column] = Math.floor(((sum + (count >> 1)) * multiplier) / 2 ** 24);
    }
  }
  return { width: columns, height: rows, data: result };
}
