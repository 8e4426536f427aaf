/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CUDA graphs of calls that repeat. A ViT-B encoding is about 150 launches; started one by one, the gaps
 * between them are a good part of the time of small batches.
 *
 * The first time a key is seen its calls simply run: they make what must not be made inside of a capture
 * (scratch memory, plans of products). The second time they are captured, and from then on started as
 * one. A capture that fails costs nothing but this chance: the key is given up, and the caller makes
 * the calls again.
 */
#include "kernels/cuda/cuda.h"

#include <string.h>

enum { GRAPHS = 32, KEY_BYTES = 64 };

struct msxk_graph {
    unsigned char key[KEY_BYTES];
    bool seen, hopeless; /* hopeless: could not be captured */
    cudaGraphExec_t exec;
};

static void clear(msxk_graph *g) {
    if (g->exec) cudaGraphExecDestroy(g->exec);
    memset(g, 0, sizeof *g);
}

void msxk_cuda_forget_graphs(msx_kdev *dev) {
    for (int i = 0; dev->graphs && i < GRAPHS; i++) clear(dev->graphs + i);
    if (dev->graphs) dev->host.free(dev->graphs, dev->host.payload);
    dev->graphs = NULL;
    dev->recording = NULL;
}

static int make_table(msx_kdev *dev) {
    if (dev->graphs) return MSXK_OK;
    dev->graphs =
        static_cast<msxk_graph *>(msxk_cuda_host_alloc(dev, GRAPHS * sizeof *dev->graphs));
    if (!dev->graphs) return MSXK_E_NOMEM;
    memset(dev->graphs, 0, GRAPHS * sizeof *dev->graphs);
    return MSXK_OK;
}

int msxk_cuda_begin(msx_kdev *dev, const void *key, size_t bytes) {
    if (bytes > KEY_BYTES)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "a key of %zu bytes; at most %d fit", bytes,
                              (int)KEY_BYTES);
    unsigned char wanted[KEY_BYTES] = {0};
    memcpy(wanted, key, bytes);
    MSXK_RETURN_IF(make_table(dev));
    msxk_graph *g = NULL;
    for (int i = 0; i < GRAPHS && !g; i++)
        if (dev->graphs[i].seen && !memcmp(dev->graphs[i].key, wanted, KEY_BYTES))
            g = dev->graphs + i;
    if (!g) { /* the oldest makes room */
        g = dev->graphs + dev->next_graph++ % GRAPHS;
        clear(g);
        memcpy(g->key, wanted, KEY_BYTES);
        g->seen = true;
        return 0;
    }
    if (g->exec) {
        MSXK_RETURN_IF(
            msxk_cuda_check(dev, cudaGraphLaunch(g->exec, dev->stream), "cudaGraphLaunch"));
        return 1;
    }
    if (g->hopeless) return 0;
    /* other threads may go on using the GPU meanwhile */
    MSXK_RETURN_IF(
        msxk_cuda_check(dev, cudaStreamBeginCapture(dev->stream, cudaStreamCaptureModeThreadLocal),
                        "cudaStreamBeginCapture"));
    dev->recording = g;
    return 0;
}

int msxk_cuda_end(msx_kdev *dev, int complete) {
    msxk_graph *g = dev->recording;
    if (!g) return MSXK_OK;
    dev->recording = NULL;
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamEndCapture(dev->stream, &graph);
    if (complete) {
        if (error == cudaSuccess) error = cudaGraphInstantiateWithFlags(&g->exec, graph, 0);
        if (error == cudaSuccess) error = cudaGraphLaunch(g->exec, dev->stream);
    }
    if (graph) cudaGraphDestroy(graph);
    if (complete && error == cudaSuccess) return MSXK_OK;
    cudaGetLastError();
    g->hopeless = true;
    return 1;
}
