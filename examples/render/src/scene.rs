//! The scene and the path tracer: spheres on a floor under a sky, matte, metal and glass.

use crate::vector::Vec3;

/// How often light may bounce.
const BOUNCES_MAX: u32 = 12;
/// Closer than this is the surface the ray has just left.
const NEAR: f64 = 1e-4;

#[derive(Clone, Copy)]
enum Surface {
    Matte(Vec3),
    Metal(Vec3, f64),
    Glass(f64),
}

struct Sphere {
    centre: Vec3,
    radius: f64,
    surface: Surface,
}

struct Ray {
    from: Vec3,
    towards: Vec3,
}

/// What is there to see.
pub(crate) struct Scene {
    spheres: Vec<Sphere>,
}

/// Where it is seen from.
pub(crate) struct Camera {
    from: Vec3,
    corner: Vec3,
    right: Vec3,
    down: Vec3,
    width: u32,
}

impl Camera {
    /// Looks at the middle of the scene; 40 degrees from top to bottom.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let (from, at) = (Vec3(4.5, 2.2, 5.5), Vec3(0.0, 0.7, 0.0));
        let ahead = (at - from).unit();
        let right = ahead.cross(Vec3(0.0, 1.0, 0.0)).unit();
        let down = ahead.cross(right);
        // tan(20 degrees), as a constant: no libm takes part in what the picture looks like.
        let half = 0.363_970_234_266_202_4;
        let pixel = 2.0 * half / f64::from(height);
        let (right, down) = (right * pixel, down * pixel);
        let corner = ahead - right * (f64::from(width) / 2.0) - down * (f64::from(height) / 2.0);
        Self { from, corner, right, down, width }
    }

    fn ray(&self, x: f64, y: f64) -> Ray {
        let towards = (self.corner + self.right * x + self.down * y).unit();
        Ray { from: self.from, towards }
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let sphere = |centre, radius, surface| Sphere { centre, radius, surface };
        let mut spheres = vec![
            sphere(Vec3(0.0, -1000.0, 0.0), 1000.0, Surface::Matte(Vec3(0.45, 0.47, 0.5))),
            sphere(Vec3(0.0, 1.0, 0.0), 1.0, Surface::Glass(1.5)),
            sphere(Vec3(-2.2, 1.0, -0.6), 1.0, Surface::Matte(Vec3(0.75, 0.25, 0.2))),
            sphere(Vec3(2.2, 1.0, 0.2), 1.0, Surface::Metal(Vec3(0.85, 0.8, 0.6), 0.02)),
        ];
        let mut random = Random::new(2_320_419);
        for a in -4..5 {
            for b in -4..5 {
                let spot = |n: i32, jitter: f64| f64::from(n) + 0.7 * (jitter - 0.5);
                let centre = Vec3(spot(a, random.next()), 0.2, spot(b, random.next()));
                let colour = Vec3(random.next(), random.next(), random.next());
                let surface = match a.wrapping_mul(31).wrapping_add(b).rem_euclid(4) {
                    0 => Surface::Metal(Vec3::ONE * 0.5 + colour * 0.5, 0.2),
                    1 => Surface::Glass(1.5),
                    _ => Surface::Matte(colour.tint(colour)),
                };
                let clear = |big: &Sphere| {
                    let gap = big.centre - centre;
                    gap.dot(gap).sqrt() > big.radius + 0.2
                };
                if spheres[1..4].iter().all(clear) {
                    spheres.push(sphere(centre, 0.2, surface));
                }
            }
        }
        Self { spheres }
    }

    /// The colour of one pixel, 8 bits each of red, green and blue.
    pub(crate) fn pixel(&self, camera: &Camera, x: u32, y: u32, samples: u32) -> [u8; 3] {
        let mut random = Random::new(u64::from(y) * u64::from(camera.width) + u64::from(x));
        let mut light = Vec3::default();
        for _ in 0..samples {
            let ray = camera.ray(f64::from(x) + random.next(), f64::from(y) + random.next());
            light = light + self.trace(ray, &mut random);
        }
        let light = light * (1.0 / f64::from(samples));
        // Gamma 2; the value is between 0 and 255.99, and the cast saturates.
        [light.0, light.1, light.2].map(|c| (c.clamp(0.0, 1.0).sqrt() * 255.99) as u8)
    }

    fn trace(&self, mut ray: Ray, random: &mut Random) -> Vec3 {
        let mut tint = Vec3::ONE;
        for _ in 0..BOUNCES_MAX {
            let Some((distance, sphere)) = self.nearest(&ray) else {
                let up = 0.5 * (ray.towards.1 + 1.0);
                return tint.tint(Vec3::ONE * (1.0 - up) + Vec3(0.45, 0.65, 1.0) * up);
            };
            let at = ray.from + ray.towards * distance;
            let normal = (at - sphere.centre) * (1.0 / sphere.radius);
            let towards = match sphere.surface {
                Surface::Matte(colour) => {
                    tint = tint.tint(colour);
                    normal + random.direction()
                }
                Surface::Metal(colour, fuzz) => {
                    tint = tint.tint(colour);
                    ray.towards.reflect(normal) + random.direction() * fuzz
                }
                Surface::Glass(index) => through_glass(ray.towards, normal, index, random),
            };
            if towards.dot(towards) < 1e-12 {
                break;
            }
            ray = Ray { from: at, towards: towards.unit() };
        }
        Vec3::default()
    }

    fn nearest(&self, ray: &Ray) -> Option<(f64, &Sphere)> {
        let mut nearest: Option<(f64, &Sphere)> = None;
        for sphere in &self.spheres {
            let to = sphere.centre - ray.from;
            let along = ray.towards.dot(to);
            let root = along * along - to.dot(to) + sphere.radius * sphere.radius;
            if root < 0.0 {
                continue;
            }
            let root = root.sqrt();
            let within = |d: &f64| *d > NEAR && nearest.is_none_or(|(best, _)| *d < best);
            if let Some(d) = [along - root, along + root].into_iter().find(within) {
                nearest = Some((d, sphere));
            }
        }
        nearest
    }
}

/// Refracts by Snell's law, or reflects as often as Schlick's approximation says.
fn through_glass(towards: Vec3, normal: Vec3, index: f64, random: &mut Random) -> Vec3 {
    let entering = towards.dot(normal) < 0.0;
    let (normal, ratio) = if entering { (normal, 1.0 / index) } else { (-normal, index) };
    let cos = (-towards.dot(normal)).min(1.0);
    let bent = 1.0 - ratio * ratio * (1.0 - cos * cos);
    let r0 = (1.0 - ratio) / (1.0 + ratio);
    let r0 = r0 * r0;
    let m = 1.0 - cos;
    if bent < 0.0 || r0 + (1.0 - r0) * m * m * m * m * m > random.next() {
        towards.reflect(normal)
    } else {
        (towards + normal * cos) * ratio - normal * bent.sqrt()
    }
}

/// `SplitMix64`: the same numbers everywhere.
struct Random(u64);

impl Random {
    /// Mixes the seed: the streams of neighbouring seeds must not be shifts of one another.
    fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5851_F42D_4C95_7F2D))
    }

    /// From 0 up to, not including, 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A unit vector, all directions alike.
    fn direction(&mut self) -> Vec3 {
        loop {
            let v = Vec3(self.next(), self.next(), self.next()) * 2.0 - Vec3::ONE;
            let length = v.dot(v);
            if (1e-9..=1.0).contains(&length) {
                return v * (1.0 / length.sqrt());
            }
        }
    }
}

/// `SplitMix64`'s output function.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
