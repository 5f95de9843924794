/**
 * Flags become immutable records. A record's components are its flags: the component's name in
 * kebab case is the flag's, {@link moe4j.config.Flag} says the rest, and the record's constructor
 * checks what one record can check.
 */
package moe4j.config;
