/** The demo: a small GPT, dense and with experts, on the sources of Java libraries. */
module moe4j.examples.gpt {
  requires moe4j.megatron;
  requires org.apache.logging.log4j;

  provides moe4j.cli.Command with
      moe4j.examples.gpt.DemoCommand;
}
