// Calls unary gRPC methods over unix sockets: one JSON line in for each call, one JSON line out when it has ended, in any order.
//   in   {"id", "socket", "service", "method", "request", "metadata", "deadlineMs", "authority"}   or   {"cancel": id}
//   out  {"id", "code", "message", "response", "trailers"}        code -1: the call could not be made, message says why
// usage: node client.js FILE.proto ...      Ends with its standard input.
'use strict';

const readline = require('node:readline');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const services = loader.loadSync(process.argv.slice(2), { keepCase: true, longs: String, enums: String, oneofs: true });
const channels = new Map();
const calls = new Map();

function answer(id, code, message, response, trailers) {
  process.stdout.write(JSON.stringify({ id, code, message, response, trailers }) + '\n');
}

function channel(socket, authority) {
  const key = JSON.stringify([socket, authority]);
  let found = channels.get(key);
  if (!found) {
    // A driver that was started again is found again at once.
    const options = { 'grpc.initial_reconnect_backoff_ms': 20, 'grpc.min_reconnect_backoff_ms': 20, 'grpc.max_reconnect_backoff_ms': 100 };
    if (authority !== undefined && authority !== null) {
      options['grpc.default_authority'] = authority;
    }
    found = new grpc.Client('unix:' + socket, grpc.credentials.createInsecure(), options);
    channels.set(key, found);
  }
  return found;
}

// What no .proto knows is called too, with an empty message: servers have to answer that as well.
function method(service, name) {
  return services[service]?.[name] ?? {
    path: `/${service}/${name}`,
    requestSerialize: () => Buffer.alloc(0),
    responseDeserialize: () => ({}),
  };
}

function call({ id, socket, service, method: name, request, metadata, deadlineMs, authority }) {
  const { path, requestSerialize, responseDeserialize } = method(service, name);
  const headers = new grpc.Metadata();
  for (const [key, value] of Object.entries(metadata ?? {})) {
    headers.set(key, value);
  }
  const options = deadlineMs > 0 ? { deadline: Date.now() + deadlineMs } : {};
  const running = channel(socket, authority).makeUnaryRequest(path, requestSerialize, responseDeserialize, request ?? {}, headers, options, (error, response) => {
    calls.delete(id);
    if (error) {
      answer(id, error.code, error.details ?? error.message, null, error.metadata?.getMap() ?? {});
    } else {
      answer(id, 0, '', response, {});
    }
  });
  calls.set(id, running);
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line);
  if (request.cancel !== undefined) {
    calls.get(request.cancel)?.cancel();
    return;
  }
  try {
    call(request);
  } catch (error) {
    answer(request.id, -1, String(error), null, {});
  }
}).on('close', () => process.exit(0));

process.stdout.write('ready\n');
