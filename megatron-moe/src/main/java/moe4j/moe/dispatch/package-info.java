/** How tokens get to the ranks that have their experts, and back. */
package moe4j.moe.dispatch;
