/**
 * The files of a checkpoint: safetensors shards, the manifest that ties them together, and the
 * directory that keeps the newest few. It knows bytes, names and shapes, and no tensor library.
 *
 * <pre>
 * save/latest_checkpointed_iteration.txt           the newest iteration, for people and scripts
 * save/iter_0000100/manifest.json                  what the checkpoint holds, with checksums
 * save/iter_0000100/model_00000-of-00001.safetensors
 * save/iter_0000100/optimizer_00000-of-00001.safetensors
 * save/iter_0000200.tmp/                           being written, or left by a save that died
 * </pre>
 *
 * <p>A tensor is stored under its global name as one or more pieces, each a {@link
 * moe4j.checkpoint.Slice} of its global shape, in any number of files. A reader asks for any slice
 * of the global tensor and gets it assembled, so that the layout that reads need not be the layout
 * that wrote. Optimizer state is named by its parameter, as in {@code
 * optimizer.state.exp_avg.<parameter>}.
 *
 * <p>Several ranks that save together write a file each, {@code model_00003-of-00016.safetensors},
 * and one manifest; {@link moe4j.checkpoint.Ranks} is all that they ask of what connects them.
 *
 * <p>Tensor bytes are little-endian and row-major, as safetensors has them.
 */
package moe4j.checkpoint;
