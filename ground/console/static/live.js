// The live stream: what is known now, as signals, and the world's clock.
import { computed, session, signal } from "./lib.js";

export const connected = signal(false);
export const parameters = signal({});
// The newest of one packet, which changes when that packet comes and not with every other; and all parameters' names.
const blocks = new Map();
export function block(packet) {
  if (!blocks.has(packet)) blocks.set(packet, computed(() => parameters.value[packet]));
  return blocks.get(packet);
}
export const packets = computed(() => Object.keys(parameters.value).join(" "));
const joined = computed(() => Object.values(parameters.value).flatMap((b) => Object.keys(b.values)).sort().join(" "));
export const names = computed(() => (joined.value ? joined.value.split(" ") : []));
export const events = signal([]);
export const link = signal(null);
export const passes = signal(null);
export const radios = signal({});
export const onboard = signal(null);
export const services = signal({});
export const alarms = signal([]);
export const commands = signal([]);
export const bundles = signal([]); // at their destination, newest last
// The world's time, which may run faster than the wall's: told, and run on in between.
export const now = signal(0);

let told = 0, at = 0, socket = null, heard = 0;
const KEPT = 500;
const plain = { link, passes, time: onboard, services, alarms, bundles };

function take(message) {
  told = message.now; at = performance.now(); heard = at;
  if (message.kind === "snapshot") parameters.value = message.parameters;
  else if (message.parameters) parameters.value = { ...parameters.value, ...message.parameters };
  if (message.radios) radios.value = message.kind === "snapshot" ? message.radios : { ...radios.value, ...message.radios };
  for (const [name, into] of Object.entries(plain)) if (name in message) into.value = message[name];
  for (const [name, into] of [["events", events], ["commands", commands]]) {
    if (!(name in message)) continue;
    into.value = message.kind === "snapshot" ? message[name] : [...into.value, ...message[name]].slice(-KEPT);
  }
}

// The next comes when this has been drawn: a busy browser is sent less, and nothing old waits for it.
function shown(to) {
  const say = () => to.readyState === WebSocket.OPEN && to.send("shown");
  if (document.hidden) say(); else requestAnimationFrame(say);
}

export function begin() {
  if (socket) return;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/api/v1/live`);
  socket.onmessage = (message) => { connected.value = true; take(JSON.parse(message.data)); shown(socket); };
  socket.onclose = (closed) => {
    socket = null; connected.value = false;
    if (closed.code === 4401) session.value = null;
    else if (session.value) setTimeout(begin, 1000);
  };
}

export function end() {
  if (socket) socket.close();
}

setInterval(() => {
  if (!told) return;
  // What is not heard of for long is not to look alive.
  if (performance.now() - heard > 8000) connected.value = false;
  now.value = told + (performance.now() - at) * (session.value?.speed ?? 1);
}, 250);

export function owlt() {
  const t = now.value;
  const pass = passes.value?.passes.find((p) => p.los > t && p.owlt_s > 0);
  if (pass) return pass.owlt_s * 1000;
  return link.value && link.value.owlt_s >= 0 ? link.value.owlt_s * 1000 : null;
}

export function windows() {
  const t = now.value, all = passes.value?.passes ?? [];
  const mine = all.filter((p) => p.mission === "L4 relay");
  return {
    planned: passes.value !== null,
    pass: mine.find((p) => p.aos <= t && t < p.los) ?? null,
    next: mine.find((p) => p.aos > t) ?? null,
    uplink: mine.find((p) => p.uplink_from <= t && t < p.uplink_to) ?? null,
    nextUplink: mine.find((p) => p.uplink_to > t) ?? null,
  };
}

export function find(name) {
  for (const [packet, block] of Object.entries(parameters.value))
    if (name in block.values) return { packet, block, value: block.values[name] };
  return null;
}
