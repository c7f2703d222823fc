// Follow faces from frame to frame: fer/video/tracker.py in JavaScript, where the constants are
// explained. Appearance is left out: a page shows few faces.

const TIME_CONSTANT = 0.05;
const EMOTION_TIME_CONSTANT = 0.08;
const MAX_GAP = 3;
const MAX_DISTANCE = 0.8;
const MAX_SPEED = 2;
const MAX_SIZE_RATIO = 1.7;
const STILL_AFTER = 0.5;

export class Tracker {
  #tracks = [];
  #nextId = 0;

  /** Return a track for each box in the next frame, with a smoothed box and an id. */
  match(boxes, seconds) {
    this.#tracks = this.#tracks.filter((track) => seconds - track.seconds <= MAX_GAP);
    const detections = boxes.map(([left, top, right, bottom]) => ({
      center: [(left + right) / 2, (top + bottom) / 2],
      side: right - left,
    }));
    const pairs = this.#tracks
      .flatMap((track) => detections.map((found, i) => ({ track, i, cost: cost(track, found, seconds) })))
      .filter((pair) => pair.cost < Infinity)
      .sort((a, b) => a.cost - b.cost);
    const matched = new Map();
    for (const { track, i } of pairs) {
      if (matched.has(i) || [...matched.values()].includes(track)) continue;
      update(track, detections[i], seconds);
      matched.set(i, track);
    }
    return detections.map((found, i) => {
      if (!matched.has(i)) {
        const track = { id: this.#nextId++, seconds, gap: 0, velocity: [0, 0], ...found };
        track.probabilities = {};
        this.#tracks.push(track);
        matched.set(i, track);
      }
      return matched.get(i);
    });
  }
}

/** Return the probabilities of a model smoothed over the frames of a track. */
export function smooth(track, model, probabilities) {
  const before = track.probabilities[model];
  const weight = before ? Math.exp(-track.gap / EMOTION_TIME_CONSTANT) : 0;
  track.probabilities[model] = probabilities.map(
    (value, i) => weight * (before?.[i] ?? 0) + (1 - weight) * value,
  );
  return track.probabilities[model];
}

/** Return the box of a track in whole pixels; it overlaps an image of a size. */
export function boxOf({ center, side }, width, height) {
  const x = Math.min(Math.max(center[0], 0), width);
  const y = Math.min(Math.max(center[1], 0), height);
  const length = Math.max(2, Math.round(side));
  const [left, top] = [Math.round(x - length / 2), Math.round(y - length / 2)];
  return [left, top, left + length, top + length];
}

function cost(track, { center, side }, seconds) {
  const gap = seconds - track.seconds;
  const expected = [track.center, track.center.map((value, i) => value + gap * track.velocity[i])];
  const distances = expected.map(([x, y]) => Math.hypot(x - center[0], y - center[1]));
  const larger = Math.max(side, track.side);
  const ratio = larger / Math.min(side, track.side);
  const distance = Math.min(...distances) / larger;
  const limit = MAX_DISTANCE + MAX_SPEED * gap;
  return distance > limit || ratio > MAX_SIZE_RATIO ? Infinity : distance / limit + ratio / 2;
}

function update(track, { center, side }, seconds) {
  const gap = (track.gap = seconds - track.seconds);
  const alpha = 1 - Math.exp(-gap / TIME_CONSTANT);
  if (gap > STILL_AFTER) {
    Object.assign(track, { center, velocity: [0, 0] });
  } else if (gap > 0) {
    const predicted = track.center.map((value, i) => value + gap * track.velocity[i]);
    const residual = center.map((value, i) => value - predicted[i]);
    track.center = predicted.map((value, i) => value + alpha * residual[i]);
    const beta = (alpha * alpha) / (2 - alpha) / gap;
    track.velocity = track.velocity.map((value, i) => value + beta * residual[i]);
  }
  track.side += alpha * (side - track.side);
  track.seconds = seconds;
}
