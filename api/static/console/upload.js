// Brings a file to where tasks name it as their input: a small one through the API, a large one to S3, in parts.
import { signal } from "../vendor/signals.js";
import { ApiError, call, get, send } from "./api.js";

/** Bytes above which a file goes in parts: the gateway on AWS takes no larger bodies than 10 MB. */
const IN_PARTS_ABOVE = 8 * 2 ** 20;
/** Milliseconds after each try but the last. */
const WAITS = [500, 1000, 2000];

/** How many files are on their way. */
export const uploading = signal(0);

/** Returns the file's s3:// address. `told` hears of the share of a large one that has arrived; `stop` gives it up. */
export async function upload(file, stop, told) {
  uploading.value += 1;
  try {
    return await (file.size > IN_PARTS_ABOVE ? inParts(file, stop, told) : whole(file, stop));
  } finally {
    uploading.value -= 1;
  }
}

const typeOf = (file) => file.type || "application/octet-stream";

async function whole(file, stop) {
  const answer = await call(`v1/inputs?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, signal: stop, headers: { "content-type": typeOf(file) } });
  return (await answer.json()).s3;
}

async function inParts(file, stop, told) {
  told(0);
  const begun = await send("POST", "v1/inputs/uploads", { bytes: file.size, name: file.name, content_type: typeOf(file) });
  const path = `v1/inputs/uploads/${begun.upload}`;
  try {
    for (let number = 1; number <= begun.parts; number += 1) {
      const before = (number - 1) * begun.part_bytes;
      const part = file.slice(before, before + begun.part_bytes);
      await again(stop, async () => {
        const { url } = await get(`${path}/parts/${number}`, { signal: stop });
        await put(url, part, stop, (bytes) => told((before + bytes) / file.size), `part ${number} of ${begun.parts}`);
      });
    }
    return (await again(stop, () => send("POST", `${path}/complete`))).s3;
  } catch (error) {
    // Also while the page is closed. What cannot be given up, S3 forgets after a day.
    call(path, { method: "DELETE", keepalive: true }).catch(() => {});
    throw error;
  }
}

/** Tries until it works, a few times where another try may help. */
async function again(stop, run) {
  for (const wait of [...WAITS, null]) {
    stop.throwIfAborted();
    try {
      return await run();
    } catch (error) {
      if (stop.aborted || wait === null || !(error.mayPass ?? mayPass(error.status))) throw error;
    }
    await new Promise((done) => {
      setTimeout(done, wait);
      stop.addEventListener("abort", done, { once: true });
    });
  }
}

const mayPass = (status) => status === 0 || status === 408 || status === 429 || status >= 500;

/** Sends a part without the API's key: the link carries its own signature. (`fetch` tells nothing of what has been sent.) */
function put(url, part, stop, told, name) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const giveUp = () => request.abort();
    request.open("PUT", url);
    // As long as the API waits for a body: a minute, and one second for each 32 KiB.
    request.timeout = 60_000 + part.size / 32;
    request.upload.onprogress = ({ loaded }) => told(loaded);
    request.onloadend = () => {
      stop.removeEventListener("abort", giveUp);
      const { status } = request;
      if (status >= 200 && status < 300) resolve();
      else if (stop.aborted) reject(stop.reason);
      else reject(refused(status, name, url));
    };
    stop.addEventListener("abort", giveUp);
    request.send(part);
  });
}

function refused(status, name, url) {
  const why = status ? `S3 refuses it with status ${status}` : `${new URL(url).host} does not answer, or not to this page`;
  const error = new ApiError(`The file is not uploaded: ${name} cannot be sent, ${why}. Choose the file again.`, { status });
  // A link that has ended is 403: another one is asked for.
  return Object.assign(error, { mayPass: status === 403 || mayPass(status) });
}
