// Includes what there is neither beside it nor among the shared headers.
#include "nowhere.cuh"
