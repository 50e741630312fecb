// Kernel images: what the rest of the toolstack imports. Reading starts at load.ts.

export { ImageError } from './error.ts';
export { type KernelImage, protocolText } from './kernel.ts';
export { loadImage, loadImages, type NamedFile } from './load.ts';
export { ModuleTree, moduleName } from './modules.ts';
export type { XenNote, XenNotes } from './xen-notes.ts';
