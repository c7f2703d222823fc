// Follow faces from frame to frame by position and size, and smooth what is predicted of them.

const TIME_CONSTANT = 0.08; // seconds
const MAX_GAP = 3; // seconds that a face may be away

export class Follower {
  #tracks = [];
  #count = 0;

  /** Return the faces of the next frame, each with its number, which stays from frame to frame. */
  follow(faces, seconds) {
    this.#tracks = this.#tracks.filter((track) => seconds - track.seconds <= MAX_GAP);
    const pairs = faces
      .flatMap((face) => this.#tracks.map((track) => ({ face, track, apart: distance(face.box, track.box) })))
      .filter(({ apart }) => apart < 1)
      .sort((a, b) => a.apart - b.apart);
    const matched = new Map();
    for (const { face, track } of pairs) {
      if (!matched.has(face) && ![...matched.values()].includes(track)) matched.set(face, track);
    }
    return faces.map((face) => {
      const track = matched.get(face) ?? { ...face, number: ++this.#count, seconds: -Infinity };
      const weight = Math.exp((track.seconds - seconds) / TIME_CONSTANT);
      const mix = (now, before) => now.map((value, i) => weight * before[i] + (1 - weight) * value);
      track.box = mix(face.box, track.box);
      track.probabilities = mix(face.probabilities, track.probabilities);
      track.seconds = seconds;
      if (!matched.has(face)) this.#tracks.push(track);
      const { number, box, probabilities } = track;
      return { ...face, number, box: box.map(Math.round), probabilities };
    });
  }
}

/** Return the distance of the centers of two boxes, in sides of the larger one. */
function distance(a, b) {
  const [x, y] = [0, 1].map((i) => (a[i] + a[i + 2] - b[i] - b[i + 2]) / 2);
  return Math.hypot(x, y) / Math.max(a[2] - a[0], b[2] - b[0]);
}
