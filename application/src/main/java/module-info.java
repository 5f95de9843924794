/** The program as a whole: the logging backend, the terminal, plots and tokenizer libraries. */
@SuppressWarnings("requires-automatic") // JLine's jars have no module-info.
module moe4j.application {
  requires moe4j.megatron;
  requires org.apache.logging.log4j.core;
  requires org.jline.terminal;

  provides moe4j.cli.Command with
      moe4j.application.demo.DemoCommand;
  provides moe4j.console.Terminal with
      moe4j.application.JlineTerminal;
  provides moe4j.training.LogBackend with
      moe4j.application.Log4jBackend;
}
