// The measuring part of bench/publish.   usage: node publish.js CSI.proto SCRATCH ROUNDS COUNT PARALLEL
'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [proto, scratch] = process.argv.slice(2, 4);
const [rounds, count, parallel] = process.argv.slice(4).map(Number);
const services = loader.loadSync(proto, { keepCase: true, longs: String, enums: String, oneofs: true });
const client = new grpc.Client(`unix:${scratch}/csi.sock`, grpc.credentials.createInsecure());
const capability = { mount: {}, access_mode: { mode: 'MULTI_NODE_MULTI_WRITER' } };
const inline = { 'csi.storage.k8s.io/ephemeral': 'true' };
let made = 0;

function call(service, name, request) {
  const { path: method, requestSerialize, responseDeserialize } = services[`csi.v1.${service}`][name];
  return new Promise((resolve, reject) => client.makeUnaryRequest(method, requestSerialize, responseDeserialize, request,
    { deadline: Date.now() + 120_000 }, (error, response) => error ? reject(error) : resolve(response)));
}

// As kubelet makes it: the parent is there, the place itself is not.
function target() {
  const parent = path.join(scratch, 'kubelet/pods', `pod-${++made}`, 'volumes/kubernetes.io~csi/v');
  fs.mkdirSync(parent, { recursive: true });
  return path.join(parent, 'mount');
}

const publish = (volume_id, target_path, volume_context = {}) =>
  call('Node', 'NodePublishVolume', { volume_id, target_path, volume_capability: capability, volume_context });
const unpublish = (volume_id, target_path) => call('Node', 'NodeUnpublishVolume', { volume_id, target_path });

// Waits in another thread: this one has nothing else to do, but a daemon may need the CPU.
async function firstWrite(place) {
  await fs.promises.writeFile(path.join(place, 'first'), 'written');
  if (await fs.promises.readFile(path.join(place, 'first'), 'utf8') !== 'written') {
    throw new Error(`${place} does not have what was written`);
  }
}

async function timed(work) {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

const kinds = {
  'an inline volume: made, mounted': async () => {
    const [id, place] = [`csi-bench-${++made}`, target()];
    const ms = await timed(async () => { await publish(id, place, inline); await firstWrite(place); });
    await unpublish(id, place);
    return ms;
  },
  'a claim: mounted': async () => {
    const { volume } = await call('Controller', 'CreateVolume', { name: `pvc-bench-${++made}`, volume_capabilities: [capability] });
    const place = target();
    const ms = await timed(async () => { await publish(volume.volume_id, place); await firstWrite(place); });
    await unpublish(volume.volume_id, place);
    await call('Controller', 'DeleteVolume', { volume_id: volume.volume_id });
    return ms;
  },
  'a claim that another pod of the node has': async () => {
    const place = target();
    const ms = await timed(async () => { await publish(shared, place); await firstWrite(place); });
    await unpublish(shared, place);
    return ms;
  },
  'tmpfs: mount -t tmpfs, mount --bind': async () => {
    const [mount, place] = [path.join(scratch, `tmpfs-${++made}`), target()];
    const ms = await timed(async () => {
      fs.mkdirSync(mount);
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mount]);
      fs.mkdirSync(place);
      execFileSync('mount', ['--bind', mount, place]);
      await firstWrite(place);
    });
    execFileSync('umount', [place, mount]);
    return ms;
  },
};
let shared;

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length % 2 ? sorted[(sorted.length - 1) / 2] : (sorted[sorted.length / 2 - 1] + sorted[sorted.length / 2]) / 2;
}

const percentile = (values, p) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))];

function nodeMiB() {
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const words = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (words[1] === 'node' && fs.readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`EPHEMERALFS_CLUSTER=${scratch}/state\0`)) {
        return Math.round(Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024);
      }
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'ESRCH') {
        throw error; // else it has ended meanwhile
      }
    }
  }
  throw new Error('no node daemon');
}

async function main() {
  const { volume } = await call('Controller', 'CreateVolume', { name: 'pvc-bench-shared', volume_capabilities: [capability] });
  shared = volume.volume_id;
  const held = target();
  await publish(shared, held);
  const times = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [kind, one] of Object.entries(kinds)) {
      const these = [];
      for (let i = 0; i < count; i++) {
        these.push(await one());
      }
      times[kind].push(these);
    }
  }
  const ofTmpfs = median(times[Object.keys(kinds).at(-1)].map(median));
  console.log(`| publish until the first write is done, ms | median of ${rounds} rounds of ${count} | first round | last round | 99th percentile | of tmpfs |`);
  console.log('|---|---|---|---|---|---|');
  for (const [kind, all] of Object.entries(times)) {
    const medians = all.map(median);
    const middle = median(medians);
    console.log(`| ${kind} | ${middle.toFixed(1)} | ${medians[0].toFixed(1)} | ${medians.at(-1).toFixed(1)} | ${percentile(all.flat(), 0.99).toFixed(1)} | ${(middle / ofTmpfs).toFixed(2)} |`);
  }

  const idle = nodeMiB();
  const pods = Array.from({ length: parallel }, (_, i) => [`csi-parallel-${i}`, target()]);
  const publishing = await timed(() => Promise.all(pods.map(([id, place]) => publish(id, place, inline))));
  const full = nodeMiB();
  for (const [, place] of pods) {
    await firstWrite(place);
  }
  const unpublishing = await timed(() => Promise.all(pods.map(([id, place]) => unpublish(id, place))));
  const mounting = await timed(async () => {
    for (let i = 0; i < parallel; i++) {
      const [mount, place] = [path.join(scratch, `many-${i}`), target()];
      fs.mkdirSync(mount);
      fs.mkdirSync(place);
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mount]);
      execFileSync('mount', ['--bind', mount, place]);
    }
  });
  console.log(`\n${parallel} inline volumes at the same time: published in ${(publishing / 1000).toFixed(1)} s, unpublished in ${(unpublishing / 1000).toFixed(1)} s, no failure; `
    + `node daemon ${idle} MiB before, ${full} MiB with them. tmpfs and bind of as many, one after the other: ${(mounting / 1000).toFixed(1)} s.`);
  await unpublish(shared, held);
  client.close();
}

main().catch((error) => {
  console.error(`bench/publish: ${error.message}`);
  process.exitCode = 1;
});
