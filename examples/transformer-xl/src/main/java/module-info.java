/** A program that trains Transformer-XL's experiments through the library. */
module moe4j.examples.transformerxl {
  requires moe4j.megatron;

  exports moe4j.examples.transformerxl;
}
