// Two guests on one host and its switch, for bench/net.ts; what both print goes to standard output.
//   node --import tsx bench/guest/pair.ts KERNEL INITRD MIB MODE APPEND-SERVER APPEND-CLIENT
import { readFileSync } from 'node:fs';
import { Host, loadImage, ramForGuests } from '../../src/index.ts';
import { addVifs, openNetworks } from '../../src/toolstack/devices/network-setup.ts';

const [kernel, initrdFile, mib, mode, ...appends] = process.argv.slice(2);
const memoryMiB = Number(mib);
const image = await loadImage(new Uint8Array(readFileSync(kernel)), kernel);
const initrd = new Uint8Array(readFileSync(initrdFile));
const host = await Host.create({ ramBytes: ramForGuests(2 * memoryMiB), clock: 'real' });
const setup = { vifs: [{}] };
const networks = openNetworks(setup, {
  clock: host.hypervisor.clock,
  scheduler: host.scheduler,
  wake: () => host.wake(),
});
const [server, client] = appends.map(append => {
  const options = { image, initrd, memoryMiB, cmdline: `console=hvc0 quiet ${append}` };
  const guest = mode === 'pv' ? host.createPvDomain(options) : host.createPvhDomain(options);
  addVifs(networks, setup.vifs, host, guest);
  return guest;
});
let served = '';
server.console.onOutput(bytes => {
  // Of the server's marks its client's parts are made: one of them would end the measurement.
  served += Buffer.from(bytes).toString('latin1');
});
client.console.onOutput(bytes => void process.stdout.write(bytes));
await host.run({ until: () => client.shutdown !== null || server.shutdown !== null, whenIdle: 'wait' });
if (client.shutdown !== 'poweroff') throw new Error(`the server: ${served}`);
