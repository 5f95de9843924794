/** Several processes that train one model together: who they are and where they meet. */
package moe4j.parallel;
