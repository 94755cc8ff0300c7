// Looks whether the API is there, so that a dead one is seen within three seconds even where it takes connections.
import { alive } from "./api.js";

const EVERY = 1500;

async function look() {
  try {
    const answer = await fetch("healthz", { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
    alive.value = ![502, 503, 504].includes(answer.status);
  } catch {
    alive.value = false;
  }
}

export async function watchPulse() {
  for (;;) {
    const until = Date.now() + EVERY;
    if (!document.hidden) await look();
    await new Promise((done) => setTimeout(done, Math.max(100, until - Date.now())));
  }
}
