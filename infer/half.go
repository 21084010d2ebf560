package infer

import "math"

// Half is a number of 16 bits as IEEE 754 has it (binary16).
type Half uint16

// ToHalf rounds to the nearest number that 16 bits can hold, and of two equally near
// ones to the even one. What is too large becomes infinite.
func ToHalf(f float32) Half {
	bits := math.Float32bits(f)
	sign := Half(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000:
		return sign | 0x7e00 // NaN
	case bits >= 0x477ff000: // 65520 and above
		return sign | 0x7c00
	case bits < 0x38800000: // below 2⁻¹⁴: a multiple of 2⁻²⁴; the addition rounds
		return sign | Half(math.Float32bits(math.Float32frombits(bits)+0.5)-0x3f000000)
	}
	odd := bits >> 13 & 1
	return sign | Half((bits-0x38000000+0xfff+odd)>>13)
}

// Float is the number as a float32, exactly.
func (h Half) Float() float32 {
	sign, exp, frac := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*(1.0/(1<<24))))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
