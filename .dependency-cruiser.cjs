// Which way imports run: a room may import itself and the rooms named here, nothing else. The order is that of the layers,
// lowest first; test/project/import-direction.test.ts plants violations and sees them found.
const rooms = {
  util: [],
  abi: ['util'],
  wasm: ['util'],
  cpu: ['util', 'abi', 'wasm'],
  machine: ['util', 'abi', 'wasm', 'cpu'],
  protocols: ['util', 'abi'],
  hypervisor: ['util', 'abi', 'wasm', 'cpu', 'machine'],
  tracing: ['util', 'abi', 'protocols', 'hypervisor'],
  backends: ['util', 'abi', 'protocols'],
  toolstack: ['util', 'abi', 'wasm', 'cpu', 'machine', 'protocols', 'hypervisor', 'backends'],
};
const belowFace = [...Object.keys(rooms), 'index.ts'];
rooms['index.ts'] = Object.keys(rooms);
rooms.report = belowFace;
rooms.platform = belowFace;
// The command line starts machines through the library's face alone.
rooms.cli = ['index.ts', 'util', 'tracing', 'toolstack', 'report', 'platform'];

/** What a device of the machine is plugged into: known to it by type alone. */
const sources = '^src/backends/(block/source|net/link)[.]ts$';

const under = room => (room.endsWith('.ts') ? `^src/${room.replace('.', '\\.')}$` : `^src/${room}/`);

const directions = Object.entries(rooms).map(([room, allowed]) => ({
  name: `${room.replace('.ts', '')}-imports`,
  comment: `src/${room} may import ${allowed.join(', ') || 'nothing'} of this project`,
  severity: 'error',
  from: { path: under(room) },
  to: {
    path: '^src/',
    pathNot: [...[room, ...allowed].map(under), ...(room === 'machine' ? [sources] : [])],
    // Types of what the hypervisor offers a backend: see the next rule.
    ...(room === 'backends' ? { dependencyTypesNot: ['type-only'] } : {}),
  },
}));

module.exports = {
  forbidden: [
    ...directions,
    {
      name: 'backends-import-types-of-hypervisor',
      comment: 'a backend may import types alone from outside of the protocols, and those of the hypervisor alone',
      severity: 'error',
      from: { path: '^src/backends/' },
      to: { path: '^src/', pathNot: ['util', 'abi', 'protocols', 'backends', 'hypervisor'].map(under) },
    },
    {
      name: 'machine-imports-types-of-sources',
      comment: 'a device knows the block source or network port that it is plugged into by type alone',
      severity: 'error',
      from: { path: '^src/machine/' },
      to: { path: sources, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'node-in-its-place',
      comment: 'everything but src/platform/node and src/cli also runs in a browser',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(platform/node|cli)/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'browser-without-node',
      comment: 'the two platforms know nothing of each other',
      severity: 'error',
      from: { path: '^src/platform/browser/' },
      to: { path: '^src/platform/node/' },
    },
    {
      name: 'nothing-undeclared',
      comment: 'what src imports is a file of the project, a part of Node or a dependency of package.json',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['unknown', 'undetermined', 'npm-no-pkg', 'npm-unknown', 'npm-dev'] },
    },
    {
      name: 'nothing-missing',
      comment: 'an import that leads nowhere',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
};
