/** Layers, gates and experts of one's own, on what the library exports and nothing else. */
module moe4j.examples.library {
  requires transitive moe4j.megatron;

  exports moe4j.examples.library;

  provides moe4j.model.ModelFamily with
      moe4j.examples.library.RnnFamily;
}
