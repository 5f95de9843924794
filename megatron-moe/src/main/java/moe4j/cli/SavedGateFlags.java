package moe4j.cli;

import moe4j.config.Flag;

/**
 * What a command that reads a checkpoint is told of a gate of the user's own.
 *
 * @param balanceStrategy the class, or null
 */
public record SavedGateFlags(
    @Flag(
            help =
                "the class of the checkpoint's gate, where it is one of your own and does not lie in"
                    + " MOE4J_CLASSPATH: a checkpoint alone cannot have a class loaded",
            otherwise = "moe4j's own gates")
        String balanceStrategy) {}
