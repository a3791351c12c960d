/* The C interface as a C program meets it: this file is compiled as C. Its argument is a model's file. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/lowbit.h"

static int failures = 0;

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      fprintf(stderr, "  last error: %s\n", lowbit_last_error());     \
      ++failures;                                                     \
    }                                                                 \
  } while (0)

#define CHECK_ERROR(text) CHECK(strstr(lowbit_last_error(), text) != NULL)

static void check_errors(const lowbit_network* network, lowbit_session* session, const float* images) {
  float outputs[5];
  int64_t best[5];
  lowbit_shape shape;

  CHECK(lowbit_load(NULL) == NULL);
  CHECK_ERROR("path is NULL");
  CHECK(lowbit_load("/no/such/file") == NULL);
  CHECK_ERROR("cannot read \"/no/such/file\": No such file or directory");
  CHECK(lowbit_parse(NULL, 3) == NULL);
  CHECK_ERROR("bytes is NULL");
  CHECK(lowbit_parse("abc", -1) == NULL);
  CHECK_ERROR("size: expected at least 0, got -1");
  CHECK(lowbit_parse("abc", 3) == NULL);
  CHECK_ERROR("the model: the file was cut off");

  CHECK(lowbit_input_shape(NULL, &shape) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("network is NULL");
  CHECK(lowbit_input_shape(network, NULL) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("shape is NULL");
  CHECK(lowbit_outputs(NULL) == -1);
  CHECK(lowbit_metadata(NULL, "lowbit.mean") == NULL);
  CHECK(lowbit_metadata(network, NULL) == NULL);
  CHECK_ERROR("key is NULL");
  CHECK(lowbit_metadata(network, "color") == NULL);
  CHECK_ERROR("the model has no metadata \"color\"");

  CHECK(lowbit_session_create(NULL, 1) == NULL);
  CHECK_ERROR("network is NULL");
  CHECK(lowbit_session_create(network, 0) == NULL);
  CHECK_ERROR("threads: expected 1 to 1024, got 0");
  CHECK(lowbit_session_create(network, 1025) == NULL);

  CHECK(lowbit_run(NULL, images, 1, outputs) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("session is NULL");
  CHECK(lowbit_run(session, NULL, 1, outputs) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("images is NULL");
  CHECK(lowbit_run(session, images, 1, NULL) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("outputs is NULL");
  CHECK(lowbit_run(session, images, -1, outputs) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("count: expected at least 0, got -1");

  CHECK(lowbit_top_k(NULL, 5, 1, best) == LOWBIT_INVALID_ARGUMENT);
  CHECK(lowbit_top_k(outputs, 5, 1, NULL) == LOWBIT_INVALID_ARGUMENT);
  CHECK(lowbit_top_k(outputs, 5, 6, best) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("k must be in [0, count], got k 6 and count 5");
  CHECK(lowbit_top_k(outputs, 5, -1, best) == LOWBIT_INVALID_ARGUMENT);
  CHECK(lowbit_top_k(outputs, -1, -1, best) == LOWBIT_INVALID_ARGUMENT);

  lowbit_network_free(NULL);
  lowbit_session_free(NULL);
}

int main(int argc, char** argv) {
  float images[2 * 3 * 8 * 8];
  float outputs[2 * 5];
  float again[2 * 5];
  int64_t best[5];
  lowbit_shape shape = {0, 0, 0};
  lowbit_network* network;
  lowbit_session* session;
  lowbit_session* other;
  int i;

  if (argc != 2) return 2;
  CHECK(strcmp(lowbit_last_error(), "") == 0);
  network = lowbit_load(argv[1]);
  CHECK(network != NULL);
  if (network == NULL) return 1;
  CHECK(lowbit_input_shape(network, &shape) == LOWBIT_OK);
  CHECK(shape.channels == 3 && shape.height == 8 && shape.width == 8);
  CHECK(lowbit_outputs(network) == 5);
  CHECK(strcmp(lowbit_metadata(network, "lowbit.mean"), "0.5,0.5,0.5") == 0);

  session = lowbit_session_create(network, 1);
  other = lowbit_session_create(network, 2);
  CHECK(session != NULL && other != NULL);
  for (i = 0; i < 2 * 3 * 8 * 8; ++i) images[i] = (float)(i * 37 % 101) / 50 - 1;
  check_errors(network, session, images);

  lowbit_network_free(network); /* the sessions keep it */
  CHECK(lowbit_run(session, images, 2, outputs) == LOWBIT_OK);
  CHECK(lowbit_run(other, images, 2, again) == LOWBIT_OK);
  CHECK(memcmp(outputs, again, sizeof(outputs)) == 0);
  CHECK(lowbit_top_k(outputs, 5, 5, best) == LOWBIT_OK);
  for (i = 0; i + 1 < 5; ++i) CHECK(outputs[best[i]] >= outputs[best[i + 1]]);
  CHECK(outputs[best[0]] > outputs[best[4]]);
  CHECK(lowbit_run(session, images, 0, outputs) == LOWBIT_OK);

  images[200] = NAN;
  CHECK(lowbit_run(session, images, 2, outputs) == LOWBIT_INVALID_ARGUMENT);
  CHECK_ERROR("image 1 has a number that is NaN or infinite");
  lowbit_session_free(session);
  lowbit_session_free(other);
  if (failures == 0) printf("all passed\n");
  return failures == 0 ? 0 : 1;
}
