// The live stream: what is known now, as signals, and the world's clock.
import { computed, expire, session, signal, silent } from "./lib.js";

export const connected = signal(false);
// While nothing is heard: since when (wall), and of when what is shown is (world). Afterwards: how long it was, until somebody has seen it.
export const lost = signal(null);
export const again = signal(null);
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
export const antennas = signal({}); // of several: what each one's receiver says of its link
export const radios = signal({});
export const onboard = signal(null);
export const services = signal({});
export const alarms = signal([]);
export const commands = signal([]);
export const bundles = signal([]); // at their destination, newest last
// The world's time, which may run faster than the wall's: told, and run on in between.
export const now = signal(0);

let told = 0, at = 0, socket = null, heard = 0;
// Without a word for so long a stream is dead, whatever the browser knows of it (ms).
const KEPT = 500, DEAF = 8000;
const plain = { link, antennas, passes, time: onboard, services, alarms, bundles };

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

function lose() {
  if (connected.value) lost.value = { since: Date.now() - (performance.now() - heard), shown: told };
  connected.value = false;
}

function hear() {
  if (!connected.value && lost.value) again.value = { at: Date.now(), after: Date.now() - lost.value.since };
  connected.value = true; lost.value = null;
}

export function begin() {
  if (socket) return;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const mine = socket = new WebSocket(`${scheme}://${location.host}/api/v1/live`);
  heard = performance.now();
  mine.onmessage = (message) => { if (mine !== socket) return; hear(); take(JSON.parse(message.data)); shown(mine); };
  mine.onclose = (closed) => {
    if (mine !== socket) return;
    socket = null; lose();
    if (closed.code === 4401) expire();
    else if (session.value) setTimeout(begin, 1000);
  };
}

export function end() {
  const mine = socket;
  socket = null; connected.value = false; lost.value = again.value = null;
  mine?.close();
}

setInterval(() => {
  // What is not heard of for long is not to look alive: a host that is gone closes nothing, and a new stream finds it when it is back.
  if (socket && performance.now() - heard > DEAF) {
    const deaf = socket;
    socket = null; lose(); deaf.close();
    begin();
  }
  if (!told) return;
  now.value = told + (performance.now() - at) * (session.value?.speed ?? 1);
}, 250);

export function owlt() {
  const t = now.value;
  const pass = passes.value?.passes.find((p) => p.los > t && p.owlt_s > 0);
  if (pass) return pass.owlt_s * 1000;
  return link.value && link.value.owlt_s >= 0 ? link.value.owlt_s * 1000 : null;
}

// What no word of has come: of all, the bus has gone or we hear it no more; of the monitor, values and alarms are what they were.
export const deaf = computed(() => {
  const t = now.value, all = Object.values(services.value);
  if (!session.value || !all.length) return "";
  if (all.every((s) => silent(s, t))) return "THE BUS IS SILENT: WHAT YOU SEE IS OLD";
  return services.value.monitor && silent(services.value.monitor, t) ? "MONITOR IS SILENT: VALUES AND ALARMS ARE OLD" : "";
});

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
