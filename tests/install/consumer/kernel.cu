// Arithmetic that the user of the package may want contracted.

__global__ void MultiplyAdd(float* values, float factor, float summand) {
  values[threadIdx.x] = values[threadIdx.x] * factor + summand;
}
