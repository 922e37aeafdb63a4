//! The forward pass of all-MiniLM-L6-v2: BERT with six layers, the mean over all tokens, unit length.
//!
//! Matrices stay as they lie in the file: `[outputs][inputs]`, rows contiguous. A token's vector is
//! multiplied with rows, so every inner loop is a dot product over contiguous memory.

use std::{collections::HashMap, io::Read, ops::Range};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

/// Numbers in an embedding.
pub(crate) const WIDTH: usize = 384;
/// Tokens that are looked at: what the model was tuned with.
pub(crate) const TOKENS_MAX: usize = 256;
const HEADS: usize = 12;
const HEAD: usize = WIDTH / HEADS;
const INNER: usize = 4 * WIDTH;
const LAYERS: usize = 6;
const EPSILON: f32 = 1e-12;
/// The header of a file that is longer than this is not a header.
const HEADER_BYTES_MAX: u64 = 1 << 20;
const WEIGHT_BYTES_MAX: usize = 256 << 20;

/// `outputs x inputs` and a bias.
struct Linear {
    weight: Range<usize>,
    bias: Range<usize>,
}

struct Norm {
    scale: Range<usize>,
    shift: Range<usize>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    widen: Linear,
    narrow: Linear,
    norm: Norm,
}

/// The weights, and where in them each matrix lies.
pub(crate) struct Model {
    weights: Vec<f32>,
    words: Range<usize>,
    positions: Range<usize>,
    kind: Range<usize>,
    norm: Norm,
    layers: Vec<Layer>,
}

impl Model {
    /// Reads a safetensors file.
    pub(crate) fn read(mut file: impl Read) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(text)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > HEADER_BYTES_MAX {
            return Err(format!("its header claims {header_bytes} bytes"));
        }
        let mut header = Vec::new();
        file.by_ref().take(header_bytes).read_to_end(&mut header).map_err(text)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| e.to_string())?;
        let bytes = metadata.data_len();
        if bytes > WEIGHT_BYTES_MAX || !bytes.is_multiple_of(size_of::<f32>()) {
            return Err(format!("its tensors take {bytes} bytes"));
        }
        // Read straight into numbers: the file is little-endian, as WebAssembly is.
        let mut weights = vec![0_f32; bytes / size_of::<f32>()];
        file.read_exact(bytemuck::cast_slice_mut(&mut weights)).map_err(text)?;
        let tensors = Tensors(metadata.tensors());
        Ok(Self {
            words: tensors.find("embeddings.word_embeddings.weight", None)?,
            positions: tensors.find("embeddings.position_embeddings.weight", Some(512 * WIDTH))?,
            kind: tensors.find("embeddings.token_type_embeddings.weight", Some(2 * WIDTH))?,
            norm: tensors.norm("embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(|n| tensors.layer(n)).collect::<Result<_, _>>()?,
            weights,
        })
    }

    /// The unit vector of a sentence's tokens: 1 to [`TOKENS_MAX`] of them.
    pub(crate) fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let mut x = self.look_up(tokens);
        for layer in &self.layers {
            self.attend(layer, &mut x);
            let mut inner = self.linear(&x, &layer.widen, WIDTH, INNER);
            inner.iter_mut().for_each(|v| *v = gelu(*v));
            let narrow = self.linear(&inner, &layer.narrow, INNER, WIDTH);
            add(&mut x, &narrow);
            self.normalise(&mut x, &layer.norm);
        }
        let mut mean = vec![0.0; WIDTH];
        x.chunks_exact(WIDTH).for_each(|row| add(&mut mean, row));
        let length = dot(&mean, &mean).sqrt().max(f32::MIN_POSITIVE);
        mean.iter_mut().for_each(|v| *v /= length);
        mean
    }

    fn look_up(&self, tokens: &[u32]) -> Vec<f32> {
        let (words, positions) =
            (&self.weights[self.words.clone()], &self.weights[self.positions.clone()]);
        let kind = &self.weights[self.kind.clone()][..WIDTH];
        let mut x = Vec::with_capacity(tokens.len() * WIDTH);
        for (token, position) in tokens.iter().zip(positions.chunks_exact(WIDTH)) {
            let at = *token as usize * WIDTH;
            // A vocabulary longer than the matrix: token 0 stands in.
            let word = words.get(at..at + WIDTH).unwrap_or(&words[..WIDTH]);
            x.extend((0..WIDTH).map(|i| word[i] + position[i] + kind[i]));
        }
        self.normalise(&mut x, &self.norm);
        x
    }

    fn attend(&self, layer: &Layer, x: &mut [f32]) {
        let rows = x.len() / WIDTH;
        let query = self.linear(x, &layer.query, WIDTH, WIDTH);
        let key = self.linear(x, &layer.key, WIDTH, WIDTH);
        let value = self.linear(x, &layer.value, WIDTH, WIDTH);
        let mut mixed = vec![0.0; x.len()];
        let mut scores = vec![0.0; rows];
        let scale = 1.0 / (HEAD as f32).sqrt();
        for head in 0..HEADS {
            let part = |row: usize| row * WIDTH + head * HEAD..row * WIDTH + (head + 1) * HEAD;
            for row in 0..rows {
                for (other, score) in scores.iter_mut().enumerate() {
                    *score = scale * dot(&query[part(row)], &key[part(other)]);
                }
                softmax(&mut scores);
                for (other, score) in scores.iter().enumerate() {
                    let from = &value[part(other)];
                    for (to, v) in mixed[part(row)].iter_mut().zip(from) {
                        *to += score * v;
                    }
                }
            }
        }
        add(x, &self.linear(&mixed, &layer.attended, WIDTH, WIDTH));
        self.normalise(x, &layer.attended_norm);
    }

    /// `x` times the transposed weight, plus the bias; row by row.
    fn linear(&self, x: &[f32], linear: &Linear, inputs: usize, outputs: usize) -> Vec<f32> {
        let rows = x.len() / inputs;
        let weight = &self.weights[linear.weight.clone()];
        let bias = &self.weights[linear.bias.clone()];
        let mut y = vec![0.0; rows * outputs];
        // Each weight row meets all tokens while it is in the cache.
        for (output, (weights, bias)) in weight.chunks_exact(inputs).zip(bias).enumerate() {
            for (row, x) in x.chunks_exact(inputs).enumerate() {
                y[row * outputs + output] = dot(x, weights) + bias;
            }
        }
        y
    }

    fn normalise(&self, x: &mut [f32], norm: &Norm) {
        let (scale, shift) = (&self.weights[norm.scale.clone()], &self.weights[norm.shift.clone()]);
        for row in x.chunks_exact_mut(WIDTH) {
            let mean = row.iter().sum::<f32>() / WIDTH as f32;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / WIDTH as f32;
            let by = 1.0 / (variance + EPSILON).sqrt();
            for (v, (scale, shift)) in row.iter_mut().zip(scale.iter().zip(shift)) {
                *v = (*v - mean) * by * scale + shift;
            }
        }
    }
}

/// The tensors of a file, checked as they are looked up.
struct Tensors<'a>(HashMap<String, &'a TensorInfo>);

impl Tensors<'_> {
    /// Where `name` lies, in numbers; `count`: how many there must be.
    fn find(&self, name: &str, count: Option<usize>) -> Result<Range<usize>, String> {
        let info = self.0.get(name).ok_or_else(|| format!("has no tensor {name}"))?;
        let (from, to) = info.data_offsets;
        let size = size_of::<f32>();
        let range = from / size..to / size;
        let fits = info.dtype == Dtype::F32
            && from.is_multiple_of(size)
            && range.len() >= WIDTH
            && count.is_none_or(|count| count == range.len());
        if fits { Ok(range) } else { Err(format!("{name} is {:?} {:?}", info.dtype, info.shape)) }
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, String> {
        Ok(Linear {
            weight: self.find(&format!("{name}.weight"), Some(inputs * outputs))?,
            bias: self.find(&format!("{name}.bias"), Some(outputs))?,
        })
    }

    fn norm(&self, name: &str) -> Result<Norm, String> {
        Ok(Norm {
            scale: self.find(&format!("{name}.weight"), Some(WIDTH))?,
            shift: self.find(&format!("{name}.bias"), Some(WIDTH))?,
        })
    }

    fn layer(&self, n: usize) -> Result<Layer, String> {
        let at = |rest: &str| format!("encoder.layer.{n}.{rest}");
        Ok(Layer {
            query: self.linear(&at("attention.self.query"), WIDTH, WIDTH)?,
            key: self.linear(&at("attention.self.key"), WIDTH, WIDTH)?,
            value: self.linear(&at("attention.self.value"), WIDTH, WIDTH)?,
            attended: self.linear(&at("attention.output.dense"), WIDTH, WIDTH)?,
            attended_norm: self.norm(&at("attention.output.LayerNorm"))?,
            widen: self.linear(&at("intermediate.dense"), WIDTH, INNER)?,
            narrow: self.linear(&at("output.dense"), INNER, WIDTH)?,
            norm: self.norm(&at("output.LayerNorm"))?,
        })
    }
}

/// The sum of products. Sixteen sums run side by side, so that it becomes SIMD: adding floats in
/// another order is not for the compiler to decide.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The exact one, x Φ(x), with the error function by Abramowitz and Stegun 7.1.26 (error < 1.5e-7).
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = t
        * (0.254_829_6
            + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
    let erf = (1.0 - poly * (-z * z).exp()).copysign(x);
    0.5 * x * (1.0 + erf)
}
