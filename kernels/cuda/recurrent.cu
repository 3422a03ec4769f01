// The cells of recurrent networks: one step of all sequences, after the products with the hidden state. A thread does
// one hidden unit of one sequence, or of one of the `places` of a sequence of maps. Arrays of all steps are (batch,
// steps, places, ..., hidden), of one step (batch, places, ..., hidden).
#include "common.cuh"
#include "vectors.cuh"

struct Sizes {
    int batch, steps, places, hidden;
};

// One hidden unit of one place of a sequence at a step; `row` counts the places of all sequences.
struct Unit {
    Sizes sizes;
    int step, row, index;

    // Its index in an array over steps, and in an array of one step, with several numbers for each hidden unit.
    __device__ __forceinline__ long long in_all(int numbers, int number) const
    {
        return in_all(step, numbers, number);
    }
    __device__ __forceinline__ long long in_all(int other_step, int numbers, int number) const
    {
        const int sequence = row / sizes.places, place = row % sizes.places;
        const long long line = (static_cast<long long>(sequence) * sizes.steps + other_step) * sizes.places + place;
        return (line * numbers + number) * sizes.hidden + index;
    }
    __device__ __forceinline__ long long in_step(int numbers, int number) const
    {
        return (static_cast<long long>(row) * numbers + number) * sizes.hidden + index;
    }
    // A state before the step: from all states, or the first of them.
    __device__ __forceinline__ float before(const float* states, const float* first) const
    {
        return step ? states[in_all(step - 1, 1, 0)] : first[in_step(1, 0)];
    }
};

template <typename Body>
__device__ __forceinline__ void for_each_unit(Sizes sizes, int step, Body body)
{
    const Share share = share_of_grid();
    const long long units = static_cast<long long>(sizes.batch) * sizes.places * sizes.hidden;
    for (long long i = share.thread; i < units; i += share.threads)
        body(Unit{sizes, step, static_cast<int>(i / sizes.hidden), static_cast<int>(i % sizes.hidden)});
}

// gates (i, f, g, o) hold the products with x, and are replaced by the cell's gates; h is this step's part of y, as a
// matrix.
extern "C" __global__ void lstm(Sizes sizes, int step, const float* products, const float* first_cell, float* gates,
                                float* cells, float* y, float* h)
{
    for_each_unit(sizes, step, [=](const Unit& unit) {
        float sums[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[k] = gates[unit.in_all(4, k)] + products[unit.in_step(4, k)];
        const float i = logistic(sums[0]), f = logistic(sums[1]), g = tanhf(sums[2]), o = logistic(sums[3]);
        const float cell = f * unit.before(cells, first_cell) + i * g;
        gates[unit.in_all(4, 0)] = i;
        gates[unit.in_all(4, 1)] = f;
        gates[unit.in_all(4, 2)] = g;
        gates[unit.in_all(4, 3)] = o;
        cells[unit.in_all(1, 0)] = cell;
        y[unit.in_all(1, 0)] = h[unit.in_step(1, 0)] = o * tanhf(cell);
    });
}

// Writes the derivatives of the gates' sums, into the array of all steps and as a matrix of this step. Reads g, the
// gradient of y, and what the next step adds to the gradients of the hidden state (`from_after`) and of the cell
// (`cell_grad`, which is replaced by this step's).
extern "C" __global__ void lstm_backward(Sizes sizes, int step, const float* g, const float* from_after,
                                         const float* gates, const float* cells, const float* first_cell,
                                         float* cell_grad, float* derivatives, float* of_step)
{
    for_each_unit(sizes, step, [=](const Unit& unit) {
        const bool last = step == sizes.steps - 1;
        const float i = gates[unit.in_all(4, 0)], f = gates[unit.in_all(4, 1)];
        const float n = gates[unit.in_all(4, 2)], o = gates[unit.in_all(4, 3)];
        const float tanh_cell = tanhf(cells[unit.in_all(1, 0)]);
        const float dh = g[unit.in_all(1, 0)] + (last ? 0.f : from_after[unit.in_step(1, 0)]);
        const float dc = (last ? 0.f : cell_grad[unit.in_step(1, 0)]) + dh * o * (1.f - tanh_cell * tanh_cell);
        cell_grad[unit.in_step(1, 0)] = dc * f;
        const float d[4] = {dc * n * i * (1.f - i), dc * unit.before(cells, first_cell) * f * (1.f - f),
                            dc * i * (1.f - n * n), dh * tanh_cell * o * (1.f - o)};
#pragma unroll
        for (int k = 0; k < 4; ++k) derivatives[unit.in_all(4, k)] = of_step[unit.in_step(4, k)] = d[k];
    });
}

// gates (r, z, n) and h as in `lstm`; `first` is the state before the first step, and r scales `candidates`.
extern "C" __global__ void gru(Sizes sizes, int step, const float* products, const float* hidden_bias,
                               const float* first, float* gates, float* candidates, float* y, float* h)
{
    for_each_unit(sizes, step, [=](const Unit& unit) {
        const float r = logistic(gates[unit.in_all(3, 0)] + products[unit.in_step(3, 0)]);
        const float z = logistic(gates[unit.in_all(3, 1)] + products[unit.in_step(3, 1)]);
        const float candidate = products[unit.in_step(3, 2)] + hidden_bias[unit.index];
        const float n = tanhf(gates[unit.in_all(3, 2)] + r * candidate);
        gates[unit.in_all(3, 0)] = r;
        gates[unit.in_all(3, 1)] = z;
        gates[unit.in_all(3, 2)] = n;
        candidates[unit.in_all(1, 0)] = candidate;
        y[unit.in_all(1, 0)] = h[unit.in_step(1, 0)] = n + z * (unit.before(y, first) - n);
    });
}

// Writes the derivatives of the GRU's sums, as `lstm_backward` does. `state_grad` is the part of the state's gradient
// that bypasses the gates; `of_hidden` holds the derivatives of what the hidden state adds to the sums.
extern "C" __global__ void gru_backward(Sizes sizes, int step, const float* g, const float* from_after,
                                        const float* gates, const float* candidates, const float* y,
                                        const float* first, float* state_grad, float* derivatives, float* of_hidden,
                                        float* of_step)
{
    for_each_unit(sizes, step, [=](const Unit& unit) {
        const long long place = unit.in_step(1, 0);
        const float r = gates[unit.in_all(3, 0)], z = gates[unit.in_all(3, 1)], n = gates[unit.in_all(3, 2)];
        const float after = step == sizes.steps - 1 ? 0.f : from_after[place] + state_grad[place];
        const float dh = g[unit.in_all(1, 0)] + after, dn = dh * (1.f - z) * (1.f - n * n);
        state_grad[place] = dh * z;
        const float dr = dn * candidates[unit.in_all(1, 0)] * r * (1.f - r);
        const float dz = dh * (unit.before(y, first) - n) * z * (1.f - z);
        const float d[3] = {dr, dz, dn}, hidden[3] = {dr, dz, dn * r};
#pragma unroll
        for (int k = 0; k < 3; ++k) {
            derivatives[unit.in_all(3, k)] = d[k];
            of_hidden[unit.in_all(3, k)] = of_step[unit.in_step(3, k)] = hidden[k];
        }
    });
}
