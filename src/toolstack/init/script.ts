// What the initramfs tells init to do before its report: a file with an action on each line.
//
//   module PATH [PARAMETERS]                  loads a kernel module
//   disk NAME                                 checks a block device; overwrites its beginning
//   network NAME ADDRESS NETMASK GATEWAY      checks an interface; addresses are eight hexadecimal digits
//   mount TYPE SOURCE DIRECTORY OPTIONS       makes the directory and mounts a file system there
//   root DEVICE TYPE PROGRAM                  goes on with the system on that disk

import { checkDisk } from './disk.ts';
import { CONTENT_ROOM, joinPath, PATH_ROOM, readFile } from './files.ts';
import { add, byte, room } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { reportStatus } from './lines.ts';
import { loadModule } from './module.ts';
import { checkNetwork } from './network.ts';
import { mountAt, switchRoot } from './root.ts';
import { copyWord, lineLength, parseHex, startsWith } from './strings.ts';

/** Where it is. */
export const SCRIPT_FILE = '/domzero/script';

export type Action =
  | { readonly do: 'module'; readonly path: string; readonly parameters?: string }
  | { readonly do: 'disk'; readonly name: string }
  | {
      readonly do: 'network';
      readonly name: string;
      /** "10.0.2.15" */
      readonly address: string;
      readonly netmask: string;
      readonly gateway: string;
    }
  | {
      readonly do: 'mount';
      readonly type: string;
      readonly source: string;
      readonly directory: string;
      readonly options: string;
    }
  | { readonly do: 'root'; readonly device: string; readonly type: string; readonly program: string };

/** The file for init. Throws RangeError for what cannot be written there. */
export function encodeScript(actions: readonly Action[]): string {
  return actions.map(action => `${words(action).join(' ')}\n`).join('');
}

function words(action: Action): string[] {
  switch (action.do) {
    case 'module':
      return ['module', word(action.path), ...(action.parameters === undefined ? [] : [action.parameters])];
    case 'disk':
      return ['disk', word(action.name)];
    case 'network': {
      const { name, address, netmask, gateway } = action;
      return ['network', word(name), ...[address, netmask, gateway].map(hexAddress)];
    }
    case 'mount':
      return ['mount', ...[action.type, action.source, action.directory, action.options].map(word)];
    case 'root':
      return ['root', ...[action.device, action.type, action.program].map(word)];
  }
}

function word(text: string): string {
  if (!/^[!-~]{1,255}$/.test(text)) throw new RangeError(`"${text}" cannot stand in a script for init`);
  return text;
}

function hexAddress(text: string): string {
  const bytes = text.split('.').map(Number);
  if (bytes.length !== 4 || bytes.some(b => !(b >= 0 && b < 256))) throw new RangeError(`${text} is no IPv4 address`);
  return bytes.map(b => b.toString(16).padStart(2, '0')).join('');
}

const script = room('script', CONTENT_ROOM + 1);
const key = room('script_key', PATH_ROOM);
const [first, second, third, fourth] = ['first', 'second', 'third', 'fourth'].map(n => room(`${n}_word`, PATH_ROOM));

/** Runs the script where there is one. */
export const runScript = routine('run_script', r => {
  r.do(readFile(SCRIPT_FILE, script, CONTENT_ROOM));
  const line = r.local(script);
  r.while(byte(line), () => {
    const next = r.local(add(line, lineLength(line)));
    r.if(byte(next), () => {
      r.store(1, next, 0);
      r.set(next, add(next, 1));
    });
    r.do(runAction(line));
    r.set(line, next);
  });
});

const runAction = routine('run_action', (r, line) => {
  const rest = r.local(0);
  r.set(rest, startsWith(line, 'module '));
  r.if(rest, () => {
    r.set(rest, copyWord(first, rest));
    r.do(joinPath(key, 'module', first));
    r.return(reportStatus(key, loadModule(first, rest)));
  });
  r.set(rest, startsWith(line, 'disk '));
  r.if(rest, () => {
    r.do(copyWord(first, rest));
    r.return(checkDisk(first));
  });
  r.set(rest, startsWith(line, 'network '));
  r.if(rest, () => {
    for (const room of [first, second, third, fourth]) r.set(rest, copyWord(room, rest));
    r.return(checkNetwork(first, parseHex(second), parseHex(third), parseHex(fourth)));
  });
  r.set(rest, startsWith(line, 'mount '));
  r.if(rest, () => {
    for (const room of [first, second, third, fourth]) r.set(rest, copyWord(room, rest));
    r.do(joinPath(key, 'mount', second));
    r.return(reportStatus(key, mountAt(first, second, third, fourth)));
  });
  r.set(rest, startsWith(line, 'root '));
  r.if(rest, () => {
    for (const room of [first, second, third]) r.set(rest, copyWord(room, rest));
    r.return(reportStatus('root', switchRoot(first, second, third)));
  });
});
