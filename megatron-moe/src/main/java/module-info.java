/**
 * Layers with mixtures of experts, model families, the optimizer, checkpoints, the training loop,
 * its record, and the commands.
 */
// XChart has no module-info; moe4j.application is built after this module.
@SuppressWarnings({"requires-automatic", "module"})
module moe4j.megatron {
  requires transitive moe4j.data;
  requires transitive moe4j.kernels;
  requires transitive com.fasterxml.jackson.databind;
  requires org.apache.commons.cli;
  requires org.apache.logging.log4j;
  requires org.snakeyaml.engine.v2;
  requires java.desktop;
  // Optional: only the report's picture needs it.
  requires static xchart;

  exports moe4j.checkpoint;
  exports moe4j.cli;
  exports moe4j.config;
  exports moe4j.cost;
  exports moe4j.model;
  exports moe4j.model.gpt;
  exports moe4j.model.txl;
  exports moe4j.moe;
  exports moe4j.moe.dispatch;
  exports moe4j.moe.experts;
  exports moe4j.moe.gate;
  exports moe4j.optimizer;
  exports moe4j.parallel;
  exports moe4j.record;
  exports moe4j.training;
  exports moe4j.training.step;
  exports moe4j.transformer;
  // What the program alone needs: the terminal, and what its demo is made of.
  exports moe4j.console to
      moe4j.application;
  exports moe4j.report to
      moe4j.application;
  exports moe4j.training.run to
      moe4j.application;

  // Jackson reads and writes their records, in manifests, metrics and configurations.
  opens moe4j.checkpoint to
      com.fasterxml.jackson.databind;
  opens moe4j.cli to
      com.fasterxml.jackson.databind;
  opens moe4j.config to
      com.fasterxml.jackson.databind;
  opens moe4j.model to
      com.fasterxml.jackson.databind;
  opens moe4j.model.gpt to
      com.fasterxml.jackson.databind;
  opens moe4j.model.txl to
      com.fasterxml.jackson.databind;
  opens moe4j.moe to
      com.fasterxml.jackson.databind;
  opens moe4j.optimizer to
      com.fasterxml.jackson.databind;
  opens moe4j.parallel to
      com.fasterxml.jackson.databind;
  opens moe4j.report to
      com.fasterxml.jackson.databind;
  opens moe4j.training.run to
      com.fasterxml.jackson.databind;

  uses moe4j.cli.Command;
  uses moe4j.model.ModelFamily;
  uses moe4j.console.Terminal;
  uses moe4j.training.LogBackend;

  provides moe4j.cli.Command with
      moe4j.cli.BenchCommCommand,
      moe4j.cli.BenchKernelsCommand,
      moe4j.cli.BenchModelCommand,
      moe4j.cli.BenchMoeCommand,
      moe4j.cli.CheckCommand,
      moe4j.cli.CompareCommand,
      moe4j.cli.DataEnwik8Command,
      moe4j.cli.DoctorCommand,
      moe4j.cli.EvaluateCommand,
      moe4j.cli.GenerateCommand,
      moe4j.cli.InspectCommand,
      moe4j.cli.LaunchCommand,
      moe4j.cli.PlanCommand,
      moe4j.cli.PreprocessCommand,
      moe4j.cli.PretrainCommand,
      moe4j.cli.RunsCommand,
      moe4j.cli.SelftestCommand,
      moe4j.cli.UpcycleCommand;
  provides moe4j.model.ModelFamily with
      moe4j.model.gpt.GptFamily,
      moe4j.model.txl.TransformerXlFamily;
}
