#ifndef LOWBIT_RUNTIME_LOWBIT_H_
#define LOWBIT_RUNTIME_LOWBIT_H_

/* Runs a network that Lowbit quantized, from C or from any language that can call C:
 *
 *   lowbit_network* network = lowbit_load("model.safetensors");
 *   lowbit_session* session = network == NULL ? NULL : lowbit_session_create(network, 1);
 *   lowbit_shape shape;
 *   if (session == NULL || lowbit_input_shape(network, &shape) != LOWBIT_OK) {
 *     fprintf(stderr, "%s\n", lowbit_last_error());
 *     ...
 *   }
 *   float* image = ...;    shape.channels * shape.height * shape.width numbers, see lowbit_run
 *   float* outputs = malloc(lowbit_outputs(network) * sizeof(float));
 *   int64_t best;
 *   if (lowbit_run(session, image, 1, outputs) == LOWBIT_OK) {
 *     lowbit_top_k(outputs, lowbit_outputs(network), 1, &best);
 *   }
 *   lowbit_session_free(session);
 *   lowbit_network_free(network);
 *
 * A network never changes: any number of sessions, on any threads, may share it. A session serves one caller at a time.
 *
 * No call throws, and none ends the process because of what it was given: NULL and damaged files are errors. What fails
 * returns NULL, -1 or a code other than LOWBIT_OK, and lowbit_last_error() says why.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lowbit_network lowbit_network;
typedef struct lowbit_session lowbit_session;

typedef enum lowbit_status {
  LOWBIT_OK = 0,
  LOWBIT_INVALID_ARGUMENT = 1, /* NULL, a number out of range, a file that is no packed model */
  LOWBIT_NOT_FOUND = 2,        /* there is no such file */
  LOWBIT_OUT_OF_MEMORY = 3,
  LOWBIT_FAILED = 4 /* anything else: a file that cannot be read, say */
} lowbit_status;

typedef struct lowbit_shape {
  int64_t channels;
  int64_t height;
  int64_t width;
} lowbit_shape;

/* Reads a packed model (model.safetensors, saved by Lowbit's pipeline) and prepares it for this processor. NULL on
 * failure. To be freed by lowbit_network_free. */
lowbit_network* lowbit_load(const char* path);

/* The same from `size` bytes of memory, which are not needed afterwards. */
lowbit_network* lowbit_parse(const void* bytes, int64_t size);

/* Sessions keep what they need: the network may be freed before them. NULL is fine. */
void lowbit_network_free(lowbit_network* network);

/* The shape of an image. */
lowbit_status lowbit_input_shape(const lowbit_network* network, lowbit_shape* shape);

/* How many numbers come out for an image: one for each class. -1 on failure. */
int64_t lowbit_outputs(const lowbit_network* network);

/* Text that came with the model: "lowbit.mean" and "lowbit.std" (how images are normalized, see lowbit_run),
 * "lowbit.classes" (the classes' names, a line feed between each two). NULL if it has none of this key. It belongs to
 * the network. */
const char* lowbit_metadata(const lowbit_network* network, const char* key);

/* The memory, and the threads, of a caller: 1 to 1024. NULL on failure. To be freed by lowbit_session_free. */
lowbit_session* lowbit_session_create(const lowbit_network* network, int threads);
void lowbit_session_free(lowbit_session* session);

/* Classifies `count` images, which follow each other in memory: all rows of the first channel (red), then those of the
 * second and of the third, each value of 0 to 255 as (value / 255 - mean[channel]) / std[channel]. `outputs` has room
 * for count * lowbit_outputs(network) numbers: the last layer's, not yet probabilities. Numbers that are NaN or
 * infinite are an error. */
lowbit_status lowbit_run(lowbit_session* session, const float* images, int64_t count, float* outputs);

/* The k highest of the `count` outputs of an image, highest first: their indices. k is at most count. */
lowbit_status lowbit_top_k(const float* outputs, int64_t count, int64_t k, int64_t* indices);

/* What went wrong in the last call that failed on this thread; "" before the first one. Valid until the next failure
 * on this thread. */
const char* lowbit_last_error(void);

#ifdef __cplusplus
}
#endif

#endif /* LOWBIT_RUNTIME_LOWBIT_H_ */
