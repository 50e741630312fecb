// Kernel images: what the rest of the toolstack imports. Reading starts at load.ts.

export { type Driver, driverModules } from './drivers.ts';
export { ImageError } from './error.ts';
export { formatInspection, type Inspection, inspectImage } from './inspect.ts';
export { type KernelImage, protocolText } from './kernel.ts';
export { loadImage, loadImages, type NamedFile } from './load.ts';
export { imageModes, MODES, type Mode, type ModeAnswer } from './modes.ts';
export { type KernelModule, ModuleTree, moduleName } from './modules.ts';
export { KernelSymbols, kernelSymbols, type SymbolAt } from './symbols.ts';
export type { XenNote, XenNotes } from './xen-notes.ts';
