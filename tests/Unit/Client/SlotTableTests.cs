using EphemeralFs.Client.Session;
using EphemeralFs.Client.State;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Unit.Client;

public sealed class SlotTableTests : IDisposable
{
    private readonly ZeroedMemory _memory = new();
    private readonly ManualTime _time = new();

    public void Dispose() => _memory.Dispose();

    [Fact]
    public async Task Slots_of_requests_that_never_come_again_are_used_when_there_is_no_other()
    {
        // A daemon dies with all slots taken; only the request of slot 3 was not answered.
        var dead = new SlotTable(_memory.Map(), _time);
        var uniques = new Dictionary<uint, ulong>();
        for (ulong unique = 1; unique <= Limits.SlotsPerSession; unique++)
        {
            uniques[(await dead.AcquireAsync(Request(unique))).Slot] = unique;
        }

        var slots = new SlotTable(_memory.Map(), _time);
        Assert.Equal((3U, 1U), await slots.AcquireAsync(Request(uniques[3], resent: true)));
        var waiting = slots.AcquireAsync(Request(5000)).AsTask();
        Assert.False(waiting.IsCompleted);
        _time.Advance(SlotTable.InheritedMs - 1);
        Assert.False(waiting.IsCompleted);
        _time.Advance(1);
        var (slot, sequence) = await waiting.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.NotEqual(3U, slot);
        Assert.Equal(2U, sequence); // what the dead one answered is not answered again
        Assert.Equal(2, slots.InUse);
    }

    [Fact]
    public async Task A_request_that_comes_again_finds_its_slot_however_late()
    {
        var dead = new SlotTable(_memory.Map(), _time);
        var taken = await dead.AcquireAsync(Request(1));
        var slots = new SlotTable(_memory.Map(), _time);
        _time.Advance(2 * SlotTable.InheritedMs);
        await slots.AcquireAsync(Request(2)); // there are others
        Assert.Equal(taken, await slots.AcquireAsync(Request(1, resent: true)));
    }

    private static Operation Request(ulong unique, bool resent = false) => Operation.Rent(null!, 0, unique, resent);
}
