/* Runs a compiled model from C, with no Python. To build:

       ingot compile model.py:Classifier --example 'f32[2,8,8]' -o classifier.ingot
       ingot export-c classifier.ingot -o exported --name classifier
       cc -O2 -Iexported predict.c exported/classifier.c exported/classifier_*.o -lm -o predict
       ./predict exported/classifier.safetensors
*/

#include <stdio.h>

#include "classifier.h"

int main(int argc, char **argv) {
    classifier_model *model = argc > 1 ? classifier_open(argv[1]) : NULL;
    if (!model) {
        fprintf(stderr, "usage: predict WEIGHTS\n");
        return 2;
    }
    /* Three images at once: sizes are chosen by each call, and checked. */
    float images[3][8][8], probabilities[3][10];
    for (int image = 0; image < 3; image++)
        for (int row = 0; row < 8; row++)
            for (int column = 0; column < 8; column++)
                images[image][row][column] = (float)((image + row * column) % 5) / 4;
    int64_t code = classifier_run(model, 3, 8, 8, &images[0][0][0], &probabilities[0][0]);
    if (code)
        fprintf(stderr, "%s\n", classifier_message(code));
    for (int image = 0; image < 3 && !code; image++) {
        for (int digit = 0; digit < 10; digit++)
            printf("%.4f ", probabilities[image][digit]);
        printf("\n");
    }
    classifier_close(model);
    return code != 0;
}
