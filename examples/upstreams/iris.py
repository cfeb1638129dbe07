"""The classifier behind the model ``iris`` of both tensor servers: a logistic regression on Fisher's irises (1936).

Rows are sepal length and width, petal length and width, in centimetres; it was trained once.
"""

import numpy as np

SPECIES = ("setosa", "versicolor", "virginica")
WEIGHTS = np.array(
    [
        [-0.41874027, 0.96699274, -2.52102832, -1.08416599],
        [0.53123044, -0.31473365, -0.20002395, -0.94866082],
        [-0.11249017, -0.65225909, 2.72105226, 2.03282681],
    ],
    dtype=np.float32,
).T
BIAS = np.array([9.84028024, 2.21683511, -12.05711535], dtype=np.float32)
