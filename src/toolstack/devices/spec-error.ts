/** A mistake in how a person described a device: one sentence. */
export class DeviceSpecError extends Error {
  override name = 'DeviceSpecError';
}
