/**
 * The seam between a model and all that trains, saves, plans and shows it: what a kind of model
 * says of itself, and what a run of it is.
 */
package moe4j.model;
